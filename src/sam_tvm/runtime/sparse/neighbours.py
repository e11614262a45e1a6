"""The neighbours of each voxel: the plan of a 3x3x3 submanifold convolution."""

from __future__ import annotations

import itertools

import numpy as np

from sam_tvm.runtime.sparse.voxels import check_voxels, numbers

# Of the 27 taps, in the order of spconv's weights (O, 3, 3, 3, I).
OFFSETS = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.int64)


def neighbour_table(coords: np.ndarray, resolution: int) -> np.ndarray:
    """Find each voxel's neighbours.

    A submanifold convolution (spconv's ``SubMConv3d`` with kernel 3) is then the sum over taps k
    of (features, a row of zeros in front, at column k) times the tap's weight.

    Args:
        coords: (N, 3) integers, distinct, in any order.
        resolution: side of the grid.

    Returns:
        (N, 27) int32: column k holds the number, from 1, of the voxel at ``OFFSETS[k]`` from each
        voxel; 0 where there is none. The middle column is the voxel itself.

    Raises:
        VoxelError: see `check_voxels`.

    """
    voxels = check_voxels(coords, resolution)
    side = resolution + 2  # an empty border, so that no neighbour is outside
    places = numbers(voxels + 1, side)
    grid = np.zeros(side**3, np.int32)
    grid[places] = np.arange(1, len(voxels) + 1, dtype=np.int32)
    return grid[places[:, None] + numbers(OFFSETS, side)]
