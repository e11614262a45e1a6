"""A reconstruction and its files: gaussians.ply, mesh.glb, layout.json, preview.png."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.runtime.flexicubes import Mesh
from sam_tvm.runtime.reconstruction.gaussians import Gaussians
from sam_tvm.runtime.reconstruction.layout import layout, write_layout
from sam_tvm.runtime.reconstruction.mesh import write_glb
from sam_tvm.runtime.reconstruction.ply import write_ply
from sam_tvm.runtime.reconstruction.pose import Pose
from sam_tvm.runtime.reconstruction.preview import write_preview
from sam_tvm.runtime.results import staged

GAUSSIANS, MESH, PREVIEW, LAYOUT = "gaussians.ply", "mesh.glb", "preview.png", "layout.json"
_COLOUR = slice(0, 3)  # of a mesh's attributes


@dataclass(frozen=True)
class Reconstruction:
    """A 3D object.

    Attributes:
        pose: where it is in the picture's scene.
        coords: (N, 3) int32, its occupied voxels.
        gaussians: what it looks like.
        mesh: its surface; None where it was not asked for.
        details: what else is known of it, fit for JSON.

    """

    pose: Pose
    coords: np.ndarray
    gaussians: Gaussians
    mesh: Mesh | None
    details: Mapping[str, Any]


def write_reconstruction(folder: Path, result: Reconstruction, header: Mapping[str, Any]) -> None:
    """Write an object's files; those of an earlier run in the folder are replaced.

    Each file is whole or absent, and ``layout.json`` comes last: where it lies, the files that it
    names are there and its own.

    Args:
        folder: made if it does not exist.
        result: the object.
        header: put before its pose in ``layout.json``.

    Raises:
        ReconstructionError: the mesh is empty.

    """
    names = [GAUSSIANS, PREVIEW] + ([MESH] if result.mesh is not None else [])
    with staged(folder) as staging:
        write_ply(staging / GAUSSIANS, result.gaussians)
        if result.mesh is not None:
            colours = result.mesh.attributes[:, _COLOUR]
            write_glb(staging / MESH, result.mesh.vertices, result.mesh.faces, colours)
        write_preview(staging / PREVIEW, result.gaussians)
        details = {**header, **result.details, "files": names}
        write_layout(staging / LAYOUT, layout(result.pose, details))
        for name in (GAUSSIANS, MESH, PREVIEW, LAYOUT):  # of an earlier run
            (folder / name).unlink(missing_ok=True)
        for name in (*names, LAYOUT):
            (staging / name).replace(folder / name)
