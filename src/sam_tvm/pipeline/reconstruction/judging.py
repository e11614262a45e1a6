"""What each stage of a reconstruction must be: the judgement of one stage, for the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_tvm.pipeline.reconstruction.cases import Arrays
from sam_tvm.pipeline.reconstruction.mesh_metrics import DecodedMesh, Extraction, judge_mesh
from sam_tvm.pipeline.reconstruction.metrics import judge_array, judge_gaussians, judge_voxels
from sam_tvm.runtime import flexicubes
from sam_tvm.runtime.reconstructor import SUBDIVISIONS, Reconstructor
from sam_tvm.runtime.sparse import downsample_to_limit, prune_interior, subdivide


def judge_stage(
    name: str,
    forced: bool,
    arrays: tuple[Arrays, Arrays, Arrays],
    coords: np.ndarray,
    reconstructor: Reconstructor,
) -> dict[str, Any]:
    """Figures of one stage.

    Args:
        name: of the stage.
        forced: whether it was run on the reference's own inputs; Gaussians are then held to their
            tolerance, else to the referee as everything is.
        arrays: ours, PyTorch's in float32 and the referee's, by name.
        coords: (N, 3), the reference's voxels.
        reconstructor: for its settings and tables.

    Returns:
        ``passed``, a ``reason`` (None if it did), figures by array under ``outputs`` and, of
        voxels under ``occupancy``, of a mesh its own.
    """
    if name == "mesh":
        settings = reconstructor.settings
        tables = flexicubes.load(reconstructor.bundle.manifest.files["flexicubes"].read())
        extraction = Extraction(
            subdivide(coords, SUBDIVISIONS), settings.resolution * 2**SUBDIVISIONS, tables
        )
        return judge_mesh(*map(_decoded, arrays), extraction)
    ours, torch32, torch64 = arrays
    judge = judge_gaussians if forced and name.startswith("gaussians") else judge_array
    row: dict[str, Any] = {
        "outputs": {
            key: judge(key, value, torch32[key], torch64[key])
            for key, value in ours.items()
            if key != "coords"
        }
    }
    failed = [key for key, output in row["outputs"].items() if not output["passed_by"]]
    if name == "voxels":
        row["occupancy"] = _occupancy(arrays, reconstructor.settings.prune_distance)
        failed += [] if row["occupancy"]["passed"] else ["occupied voxels"]
    reason = f"{', '.join(failed)} too far off" if failed else None
    return {"passed": not failed, "reason": reason, **row}


def _occupancy(arrays: tuple[Arrays, Arrays, Arrays], prune_distance: int) -> dict[str, Any]:
    ours, torch32, torch64 = arrays

    def reduce(coords: np.ndarray) -> np.ndarray:
        return downsample_to_limit(prune_interior(coords, prune_distance))[0]

    return judge_voxels(
        (ours["logits"], ours["coords"]),
        (torch32["logits"], torch32["coords"]),
        torch64["logits"],
        reduce,
    )


def _decoded(arrays: Arrays) -> DecodedMesh:
    features = arrays["features"]
    return DecodedMesh(
        features.reshape(-1, features.shape[-1]),
        arrays["vertices"],
        arrays["faces"],
        arrays["attributes"],
    )
