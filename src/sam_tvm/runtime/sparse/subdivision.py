"""Fine voxels of half the side: what a subdivision makes of positions and neighbour tables."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.sparse.neighbours import OFFSETS

# Of the eight children, in the order of the reference's `nonzero(ones(2, 2, 2))`.
CHILDREN = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.int64)


class SubdivisionTable(NamedTuple):
    """Where the neighbours of a child lie; the same for every voxel.

    Attributes:
        tap: (8, 27) int32, the parent's tap under which a child's neighbour lies.
        child: (8, 27) int32, which child of that coarse neighbour it is, 0 to 7.

    """

    tap: np.ndarray
    child: np.ndarray


def subdivide(coords: np.ndarray, levels: int = 1) -> np.ndarray:
    """Split each voxel into eight, `levels` times.

    The reference is ``SparseSubdivide`` of `tdfy_dit/modules/sparse/spatial.py`.

    Args:
        coords: (N, 3) integers.
        levels: how often.

    Returns:
        (N * 8**levels, 3) int32; child c of voxel i is row 8i + c.

    """
    fine = np.asarray(coords, dtype=np.int32)
    for _ in range(levels):
        fine = (fine[:, None] * 2 + CHILDREN.astype(np.int32)).reshape(-1, 3)
    return fine


def subdivision_table() -> SubdivisionTable:
    """Make the constants by which the fine neighbour table follows from the coarse one.

    If `table` is the (N, 27) table of some voxels and ``coarse = table[i, tap[c, k]]``, then row
    8i + c of the subdivided voxels' table has in column k: ``8 * coarse - 7 + child[c, k]`` where
    there is a coarse voxel, else 0.
    """
    places = CHILDREN[:, None] + OFFSETS  # a child's neighbours, from the parent's first child
    parents = places // 2
    tap = (parents + 1) @ (9, 3, 1)
    child = (places - 2 * parents) @ (4, 2, 1)
    return SubdivisionTable(tap.astype(np.int32), child.astype(np.int32))
