"""Reading rows through tables of indices, and the constant tables of a subdivision.

Tables are 1-based: 0 stands for a voxel that is not there, whose features are zeros.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_tvm.runtime import sparse

TAPS = len(sparse.OFFSETS)  # of a 3x3x3 kernel, in the order of spconv's weights
CHILDREN = len(sparse.CHILDREN)
# For child c and tap k of the fine kernel: the coarse tap under which it lies, and which child of
# that neighbour it is.
PARENT_TAPS, NEIGHBOUR_CHILDREN = (table.tolist() for table in sparse.subdivision_table())


def with_missing_row(x: Tensor) -> Tensor:
    """(N, C) to (N + 1, C): zeros in front, the row that tables name 0."""
    return F.pad(x, (0, 0, 1, 0))


def rows(x: Tensor, table: Tensor) -> Tensor:
    """Rows of `x` (R, C) at `table` (integers below R, any shape), as (*table.shape, C)."""
    return torch.index_select(x, 0, table.reshape(-1)).reshape(*table.shape, x.shape[1])


def columns(table: Tensor, taps: list[int]) -> Tensor:
    """Columns of a table (N, 27), as (N, len(taps))."""
    return torch.index_select(table, 1, torch.tensor(taps, dtype=torch.int32))


def fine_columns(neighbours: Tensor, child: int, taps: range) -> Tensor:
    """Some columns of the neighbour table of one child of each voxel.

    Args:
        neighbours: (N, 27), of the voxels before the subdivision.
        child: 0 to 7.
        taps: of the fine kernel.

    Returns:
        (N, len(taps)), in the order of the subdivided voxels: child c of voxel i has index 8i + c.
    """
    coarse = columns(neighbours, [PARENT_TAPS[child][tap] for tap in taps])
    children = torch.tensor([NEIGHBOUR_CHILDREN[child][tap] for tap in taps], dtype=coarse.dtype)
    return torch.where(coarse > 0, coarse * 8 + (children - 7), torch.zeros_like(coarse))


def fine_table(neighbours: Tensor) -> Tensor:
    """The whole neighbour table after a subdivision, (N, 27) to (8N, 27)."""
    children = [fine_columns(neighbours, child, range(TAPS)) for child in range(CHILDREN)]
    return torch.stack(children, 1).reshape(-1, TAPS)
