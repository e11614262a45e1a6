"""`sam_tvm::gathered_product`: products of rows that are read through an index table, kept whole.

Written out, a sparse convolution gathers rows of its input for some taps at a time, in memory.
As one operator in the exported program it can become one kernel, which reads rows where they lie.
The implementation here is plain torch, for any floating-point type; it has no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_tvm.patches.operators import define

_SCHEMA = (
    "gathered_product(Tensor x, Tensor table, Tensor weight, Tensor bias, Tensor columns,"
    " Tensor offsets, Tensor? start=None) -> Tensor"
)
GATHERED = 1 << 25  # elements gathered at a time (128 MiB in float32), at least one tap

# Kept for the life of the process: exported programs refer to the operator.
_library: torch.library.Library | None = None


def declare() -> None:
    """Define the operator, once. A program that calls it can only be loaded where it is defined."""
    global _library
    if _library is None:
        _library = define("sam_tvm", _SCHEMA, gathered_product, _shape)


def gathered_product(
    x: Tensor,
    table: Tensor,
    weight: Tensor,
    bias: Tensor,
    columns: Tensor,
    offsets: Tensor,
    start: Tensor | None = None,
) -> Tensor:
    """Sum over taps of (a row of `x`) times (the tap's weight).

    Entry e of `table` names, from 1, a block of G / W rows of `x`, where W is the number of groups
    that `weight` has; 0 says that there is none, and adds nothing. Row n * G + g of the result is::

        bias + start[n] + sum over j of x[(e - 1) * (G / W) + offsets[g, j]] @ weight[g, j]
        where e = table[n, columns[g, j]]

    Args:
        x: (R, I).
        table: (N, T) int32.
        weight: (G, t, I, O), or (1, t, I, O), the same for all groups.
        bias: (O,).
        columns: (G, t) int32, of the table: those that a group's taps read.
        offsets: (G, t) int32, below G / W: the row in its block.
        start: (N, O).

    Returns:
        (N * G, O).
    """
    groups, taps = columns.shape
    step, depth = groups // weight.shape[0], x.shape[1]
    padded = F.pad(x, (0, 0, 1, 0))  # row 0: what is not there
    first = bias if start is None else bias + start
    size = _taps_at_once(table.shape[0], taps, depth)
    results = []
    for group in range(groups):
        named = torch.index_select(table, 1, columns[group])
        rows = torch.where(named > 0, (named - 1) * step + offsets[group] + 1, 0)
        own = weight[group if weight.shape[0] > 1 else 0]
        total = first
        for tap in range(0, taps, size):
            some = own[tap : tap + size].flatten(0, 1)
            gathered = torch.index_select(padded, 0, rows[:, tap : tap + size].reshape(-1))
            total = gathered.reshape(-1, some.shape[0]) @ some + total
        results.append(total)
    return torch.stack(results, 1).flatten(0, 1)


def _taps_at_once(rows: int, taps: int, depth: int) -> int:
    """As many taps as `GATHERED` allows; one where the number of rows is only a symbol."""
    if not isinstance(rows, int):
        return 1
    return min(taps, max(1, GATHERED // max(1, rows * depth)))


def _shape(
    x: Tensor, table: Tensor, weight: Tensor, _: Tensor, columns: Tensor, *__: Any
) -> Tensor:
    return x.new_empty(table.shape[0] * columns.shape[0], weight.shape[3])
