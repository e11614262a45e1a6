"""The mesh as a .glb file with vertex colours.

The reference simplifies the mesh and bakes a texture with renderers that need a GPU; here the
mesh is written as it was extracted, with the colours that the decoder gave its vertices. This is
`to_glb` of `sam3d_objects/model/backbone/tdfy_dit/utils/postprocessing_utils.py` with vertex
colours and without post-processing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from sam_tvm.runtime.errors import ReconstructionError

# glTF has y up, the object's frame z: columns (x, y, z) go to (x, z, -y).
OBJECT_TO_GLB = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def write_glb(
    path: str | Path, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray
) -> None:
    """Write a mesh.

    Args:
        path: the file.
        vertices: (V, 3) float32, in the object's frame.
        faces: (F, 3) integers, vertices of triangles.
        colours: (V, 3) RGB in [0, 1], of the vertices.

    Raises:
        ReconstructionError: the mesh is empty.
        ValueError: shapes that do not fit each other.

    """
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,) or colours.shape != vertices.shape:
        raise ValueError(
            f"vertices {vertices.shape}, faces {faces.shape} and colours {colours.shape} are not "
            "of shape (V, 3), (F, 3) and (V, 3)"
        )
    if not len(vertices) or not len(faces):
        raise ReconstructionError("the model's mesh is empty: it found no surface in its voxels")
    levels = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    # Without processing: trimesh would merge vertices and drop those that no face uses.
    mesh = trimesh.Trimesh(vertices @ OBJECT_TO_GLB.T, faces, vertex_colors=levels, process=False)
    mesh.export(path, file_type="glb")
