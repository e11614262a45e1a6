"""Submanifold 3x3x3 convolutions as rows gathered through a neighbour table and multiplied.

The gathered rows of all 27 taps side by side (im2col) would be 27 times the features. Here a few
taps at a time are gathered and multiplied, and the products summed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sam_tvm.models.sam3d.sparse.tables import (
    CHILDREN,
    PARENT_TAPS,
    TAPS,
    columns,
    fine_columns,
    rows,
    with_missing_row,
)

# Elements gathered at a time for each voxel of the occupied grid (10 KiB in float32). Longer
# products are faster; this bounds what they cost in memory.
GATHERED = 2560

Table = Callable[[range], Tensor]  # some taps to their indices, (R, taps)


def sum_of_taps(
    x: Tensor, table: Table, weights: Tensor, start: Tensor, rows_per_voxel: int = 1
) -> Tensor:
    """Sum over taps of (rows of `x`) times (the tap's weight).

    Args:
        x: (R + 1, I), row 0 zeros.
        table: indices of some taps, for each row of the result.
        weights: (taps, I, O).
        start: what to add to, (rows, O) or (O,).
        rows_per_voxel: rows of the result for each voxel of the occupied grid.

    Returns:
        (rows, O).
    """
    taps, depth = weights.shape[:2]
    size = _taps_at_once(taps, depth * rows_per_voxel)
    total = start
    for first in range(0, taps, size):
        group = range(first, first + size)
        gathered = rows(x, table(group)).reshape(-1, size * depth)
        total = gathered @ weights[first : first + size].reshape(size * depth, -1) + total
    return total


def _taps_at_once(taps: int, elements: int) -> int:
    """The most taps, of groups of equal size, whose gathered rows stay within `GATHERED`."""
    sizes = [size for size in range(1, taps + 1) if taps % size == 0]
    return max(size for size in sizes if size == 1 or size * elements <= GATHERED)


class SubmanifoldConv(nn.Module):
    """spconv's ``SubMConv3d`` of one kernel size, 3 or 1.

    Attributes:
        conv: spconv's module, for its parameters: weight (O, k, k, k, I) and bias (O,).
    """

    def __init__(self, reference: nn.Module) -> None:
        super().__init__()
        self.conv = reference.conv

    def taps(self) -> Tensor:
        """The weight as (taps, I, O).

        Of a 1x1x1 kernel spconv reads the memory of (O, 1, 1, 1, I) as (I, O), untransposed.
        """
        weight = self.conv.weight
        outputs, inputs = weight.shape[0], weight.shape[-1]
        if weight.numel() == outputs * inputs:
            return weight.reshape(1, inputs, outputs)
        return weight.reshape(outputs, -1, inputs).permute(1, 2, 0)

    def pointwise(self, x: Tensor) -> Tensor:
        """The convolution of a 1x1x1 kernel, (N, I) to (N, O)."""
        return x @ self.taps()[0] + self.conv.bias

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Convolve (N, I) to (N, O); `neighbours` is (N, 27)."""

        def table(taps: range) -> Tensor:
            return neighbours[:, taps.start : taps.stop]

        return sum_of_taps(with_missing_row(x), table, self.taps(), self.conv.bias)

    def of_copies(self, x: Tensor, parent: Tensor, neighbours: Tensor) -> Tensor:
        """Convolve what `SparseUpsample` makes of coarse features, without the copies.

        The products are those of the coarse voxels, several times fewer than of the fine ones.

        Args:
            x: (M, I), of the coarse voxels.
            parent: (N,), the coarse voxel of each fine one, from 0.
            neighbours: (N, 27), of the fine voxels.

        Returns:
            (N, O).
        """
        weights = self.taps()
        count, inputs, outputs = weights.shape
        flat = weights.permute(1, 0, 2).reshape(inputs, count * outputs)
        products = (with_missing_row(x) @ flat).reshape(-1, outputs)  # row: voxel * taps + tap
        coarse = torch.cat([parent.new_zeros(1), parent + 1])
        table = torch.index_select(coarse, 0, neighbours.reshape(-1)).reshape(-1, count)
        table = table * count + torch.arange(count, dtype=table.dtype)
        size = _taps_at_once(count, outputs)
        total = self.conv.bias
        for first in range(0, count, size):
            total = rows(products, table[:, first : first + size]).sum(1) + total
        return total

    def of_subdivided(self, x: Tensor, neighbours: Tensor, rows_per_voxel: int) -> Tensor:
        """Convolve what `SparseSubdivide` makes of coarse features, without the copies.

        A child's 27 neighbours lie in 8 coarse voxels. The taps that read the same voxel have
        their weights summed, which leaves 8 products of 27.

        Args:
            x: (n, I), of the coarse voxels.
            neighbours: (n, 27), of the coarse voxels.
            rows_per_voxel: n for each voxel of the occupied grid.

        Returns:
            (8n, O): child c of voxel i is row 8i + c.
        """
        padded, weights = with_missing_row(x), self.taps()
        _, inputs, outputs = weights.shape
        children = []
        for child in range(CHILDREN):
            parents = sorted(set(PARENT_TAPS[child]))
            merge = torch.tensor([[float(tap == p) for tap in PARENT_TAPS[child]] for p in parents])
            merged = (merge @ weights.reshape(TAPS, -1)).reshape(-1, inputs, outputs)

            def table(taps: range, parents: list[int] = parents) -> Tensor:
                return columns(neighbours, parents[taps.start : taps.stop])

            children.append(sum_of_taps(padded, table, merged, self.conv.bias, rows_per_voxel))
        return torch.stack(children, 1).reshape(-1, outputs)

    def after_subdivision(
        self, x: Tensor, neighbours: Tensor, start: Tensor, rows_per_voxel: int
    ) -> Tensor:
        """Convolve features of subdivided voxels and add to `start`.

        Args:
            x: (8n, I).
            neighbours: (n, 27), of the voxels before the subdivision.
            start: (n, O), the same for all children of a voxel.
            rows_per_voxel: n for each voxel of the occupied grid.

        Returns:
            (8n, O).
        """
        padded, weights, start = with_missing_row(x), self.taps(), start + self.conv.bias
        children = []
        for child in range(CHILDREN):

            def table(taps: range, child: int = child) -> Tensor:
                return fine_columns(neighbours, child, taps)

            children.append(sum_of_taps(padded, table, weights, start, rows_per_voxel))
        return torch.stack(children, 1).reshape(-1, weights.shape[2])
