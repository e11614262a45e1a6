"""Positions of voxels: what they must be, and one number for each."""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.errors import VoxelError

# What the reference's SparseTensor allows ("coords should be in [0, 1023]").
MAX_RESOLUTION = 1024


def check_voxels(coords: np.ndarray, resolution: int = MAX_RESOLUTION) -> np.ndarray:
    """Check positions of voxels.

    Args:
        coords: (N, 3) integers of any width, in any order.
        resolution: side of the grid; every coordinate lies in [0, resolution).

    Returns:
        The same as (N, 3) int64.

    Raises:
        VoxelError: none at all, another shape or type, one outside the grid, or one given twice.

    """
    coords = np.asarray(coords)
    if coords.ndim != 2 or coords.shape[1] != 3 or not np.issubdtype(coords.dtype, np.integer):
        raise VoxelError(
            f"voxels must be an (N, 3) array of integers, not {coords.shape} {coords.dtype}"
        )
    if not len(coords):
        raise VoxelError("there are no voxels: nothing is occupied")
    outside = ((coords < 0) | (coords >= resolution)).any(axis=1)
    if outside.any():
        raise VoxelError(
            f"voxel {coords[outside][0].tolist()} is outside the grid: "
            f"coordinates must be from 0 to {resolution - 1}"
        )
    voxels = coords.astype(np.int64)
    ordered = np.sort(numbers(voxels, resolution))
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        position = [int(axis) for axis in np.unravel_index(twice[0], (resolution,) * 3)]
        raise VoxelError(f"voxel {position} is given more than once: remove duplicates")
    return voxels


def numbers(voxels: np.ndarray, side: int) -> np.ndarray:
    """(..., 3) positions to one number (...) each, in lexicographic order for a grid of `side`."""
    return (voxels[..., 0] * side + voxels[..., 1]) * side + voxels[..., 2]
