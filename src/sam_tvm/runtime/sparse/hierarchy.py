"""Coarse voxels of twice the side: the plan of down- and upsampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.sparse.voxels import check_voxels, numbers


class Coarse(NamedTuple):
    """M coarse voxels over N fine ones.

    Attributes:
        coords: (M, 3) int32, the coarse voxels in lexicographic order, the reference's.
        parent: (N,) int32, the coarse voxel of each fine one, from 0.
        children: (M, 8) int32, the fine voxels of each coarse one, from 1, 0 where there is none;
            the child at (x, y, z) in {0, 1}^3 is in column 4x + 2y + z.

    """

    coords: np.ndarray
    parent: np.ndarray
    children: np.ndarray


def coarsen(coords: np.ndarray) -> Coarse:
    """Group voxels by twos along each axis.

    The reference is ``SparseDownsample(2)`` of `tdfy_dit/modules/sparse/spatial.py`, whose mean
    divides the sum over the children by their number plus one; ``SparseUpsample(2)`` takes the
    parents' rows.

    Args:
        coords: (N, 3) integers, distinct, not negative, in any order.

    Raises:
        VoxelError: see `check_voxels`.

    """
    voxels = check_voxels(coords)
    above = voxels // 2
    side = int(above.max()) + 1
    codes, parent = np.unique(numbers(above, side), return_inverse=True)
    children = np.zeros((len(codes), 8), np.int32)
    children[parent, numbers(voxels % 2, 2)] = np.arange(1, len(voxels) + 1, dtype=np.int32)
    positions = np.stack(np.unravel_index(codes, (side,) * 3), axis=1)
    return Coarse(positions.astype(np.int32), parent.astype(np.int32), children)
