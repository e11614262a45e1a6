"""Inputs of the sparse components' cases: occupied voxels and the plans made of them."""

from __future__ import annotations

import itertools

import numpy as np

from sam_tvm.components.base import Case, TensorSpec
from sam_tvm.models.presets import Sam3dConfig

Arrays = dict[str, np.ndarray]

# A voxel alone is the least that there can be: one coarse voxel, one window of one.
CASES = (
    Case("surface", {"N": 1200}),
    Case("small_surface", {"N": 333}),
    Case("one_voxel", {"N": 1}),
)
_SCATTERED = 0.05  # of the voxels, away from the surface


def occupied(resolution: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels like those of an object: most on a surface, some alone, some at the grid's corners.

    Args:
        resolution: of the grid.
        count: how many; at most half of the grid.
        rng: chooses.

    Returns:
        (count, 3) int32 in ascending order, as `argwhere` finds them.
    """
    grid = np.indices((resolution,) * 3).reshape(3, -1).T
    radius = np.linalg.norm(grid - (resolution - 1) / 2, axis=1)
    distance = np.abs(radius - 0.36 * resolution) + rng.uniform(0, 1, len(grid))
    scattered = rng.choice(len(grid), round(_SCATTERED * count), replace=False)
    distance[scattered] = -1
    corners = list(itertools.product((0, resolution - 1), repeat=3))
    distance[np.ravel_multi_index(np.transpose(corners), (resolution,) * 3)] = -2
    chosen = np.argsort(distance, kind="stable")[:count]
    return np.ascontiguousarray(grid[np.sort(chosen)], dtype=np.int32)


def latents(config: Sam3dConfig, case: Case, rng: np.random.Generator) -> Arrays:
    """Voxels of a case and a latent for each."""
    coords = occupied(config.resolution, case.sizes["N"], rng)
    feats = rng.standard_normal((len(coords), config.latent_channels), dtype=np.float32)
    return {"feats": feats, "coords": coords}


def latent_specs(config: Sam3dConfig) -> tuple[TensorSpec, ...]:
    """N voxels: a latent and a position each."""
    return (
        TensorSpec("feats", ("N", config.latent_channels)),
        TensorSpec("coords", ("N", 3), "int32"),
    )


def window_specs() -> tuple[TensorSpec, ...]:
    """W0 windows of up to L0 voxels, and W1 shifted ones of up to L1."""
    return (
        TensorSpec("windows", ("W0", "L0"), "int32"),
        TensorSpec("slots", ("N",), "int32"),
        TensorSpec("shifted_windows", ("W1", "L1"), "int32"),
        TensorSpec("shifted_slots", ("N",), "int32"),
    )
