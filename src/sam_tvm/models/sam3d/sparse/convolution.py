"""Submanifold 3x3x3 convolutions as products of rows that a neighbour table names.

Each is one `sam_tvm::gathered_product`, so that the gathered rows (27 times the features) never
exist in the compiled component.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam_tvm.models.sam3d.sparse.tables import (
    CHILDREN,
    NEIGHBOUR_CHILDREN,
    PARENT_TAPS,
    TAPS,
    rows,
    with_missing_row,
)
from sam_tvm.patches import gathered_product

gathered_product.declare()

# For each child of a subdivided voxel: the eight coarse taps under which its neighbours lie.
PARENTS = [sorted(set(taps)) for taps in PARENT_TAPS]
_TAPS_OF_PRODUCTS = 9  # of 27, read at a time where products come before the gathering


def _product(
    x: Tensor,
    table: Tensor,
    weight: Tensor,
    bias: Tensor,
    columns: list[list[int]],
    offsets: list[list[int]],
    start: Tensor | None = None,
) -> Tensor:
    """`gathered_product` with constant tables."""
    tables = (torch.tensor(numbers, dtype=torch.int32) for numbers in (columns, offsets))
    return torch.ops.sam_tvm.gathered_product(x, table, weight, bias, *tables, start)


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

    def forward(self, x: Tensor, neighbours: Tensor, start: Tensor | None = None) -> Tensor:
        """Convolve (N, I) and add to `start` (N, O), if given; `neighbours` is (N, 27)."""
        taps = [list(range(TAPS))]
        return _product(x, neighbours, self.taps()[None], self.conv.bias, taps, [[0] * TAPS], start)

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
        total = self.conv.bias
        for first in range(0, count, _TAPS_OF_PRODUCTS):
            total = rows(products, table[:, first : first + _TAPS_OF_PRODUCTS]).sum(1) + total
        return total

    def of_subdivided(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Convolve what `SparseSubdivide` makes of coarse features, without the copies.

        A child's 27 neighbours lie in 8 coarse voxels. The taps that read the same voxel have
        their weights summed, which leaves 8 products of 27.

        Args:
            x: (n, I), of the coarse voxels.
            neighbours: (n, 27), of the coarse voxels.

        Returns:
            (8n, O): child c of voxel i is row 8i + c.
        """
        weights = self.taps()
        merge = [
            [[float(tap == parent) for tap in taps] for parent in parents]
            for taps, parents in zip(PARENT_TAPS, PARENTS, strict=True)
        ]
        merge = torch.tensor(merge, dtype=weights.dtype).flatten(0, 1)
        merged = (merge @ weights.flatten(1)).reshape(CHILDREN, -1, *weights.shape[1:])
        offsets = [[0] * len(PARENTS[0])] * CHILDREN
        return _product(x, neighbours, merged, self.conv.bias, PARENTS, offsets)

    def after_subdivision(self, x: Tensor, neighbours: Tensor, start: Tensor) -> Tensor:
        """Convolve features of subdivided voxels and add to `start`.

        Args:
            x: (8n, I).
            neighbours: (n, 27), of the voxels before the subdivision.
            start: (n, O), the same for all children of a voxel.

        Returns:
            (8n, O).
        """
        weight = self.taps()[None]
        return _product(
            x, neighbours, weight, self.conv.bias, PARENT_TAPS, NEIGHBOUR_CHILDREN, start
        )
