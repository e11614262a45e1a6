"""X of a contraction: read where it lies, or copied into the order of the tiles first.

Each class answers two questions: where a tile begins, and where it finds the row of the current
summed point. Positions are linear indices into `buffer`.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, integer, product, substitute
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.sums import flat_position
from sam_tvm.kernels.products.tiling import Tiling


def _int(value: int) -> Expr:
    return integer(value, "int64")


class DirectX:
    """X in place, its lanes side by side. The last tile overlaps its neighbour.

    Columns computed twice get the same bits twice, so that nothing has to be masked.
    """

    def __init__(self, contraction: Contraction, tiling: Tiling) -> None:
        self._c, self._t = contraction, tiling
        self.buffer = contraction.x.source

    def first_column(self, tile: Expr) -> Expr:
        """Return the first column of a tile."""
        start = tile * self._t.width
        known = constant_value(self._c.lane.extent)
        if known is None or known % self._t.width == 0:
            return start
        return tirx.min(start, _int(known - self._t.width))

    def start(self, tile: Expr) -> Expr:
        """Return where a tile begins."""
        return self.first_column(tile)

    def prepare(self, tile: Expr) -> list[tirx.Stmt]:
        """Return what a task does before it reads a tile: nothing."""
        return []

    def at(self, start: Expr) -> Expr:
        """Return where the current row of the tile begins."""
        return substitute(self._c.x.indices[0], {self._c.lane.var: start})


class PanelX:
    """X packed ahead: [tile][sums][width], the last tile filled up with zeros."""

    def __init__(self, contraction: Contraction) -> None:
        self._sums = flat_position(contraction.reduced)
        self._width = contraction.panels.width
        self._rows = product([axis.extent for axis in contraction.reduced])
        self.buffer = contraction.x.source

    def first_column(self, tile: Expr) -> Expr:
        """Return the first column of a tile."""
        return tile * self._width

    def start(self, tile: Expr) -> Expr:
        """Return where a tile begins."""
        return tile * (self._rows * self._width)

    def prepare(self, tile: Expr) -> list[tirx.Stmt]:
        """Return what a task does before it reads a tile: nothing."""
        return []

    def at(self, start: Expr) -> Expr:
        """Return where the current row of the tile begins."""
        return start + self._sums * self._width


class ExpandedX(PanelX):
    """Panels of int8, expanded to float32 some rows at a time, for all rows of a block at once.

    A register tile that converted what it loads would do so again for every few rows.

    Attributes:
        allocation: what declares the memory of the expanded rows.

    """

    def __init__(self, contraction: Contraction, lanes: int, rows: int) -> None:
        super().__init__(contraction)
        self._source, self._lanes = self.buffer, lanes
        size = _int(rows * self._width)
        self.buffer, self.allocation = scratch(size, "float32", "expanded_x")

    def expand(self, start: Expr, first: Expr, count: Expr) -> tirx.Stmt:
        """Return what expands rows of a tile.

        Args:
            start: where the tile begins in the panels.
            first: the first row.
            count: how many, at most as many as there is memory for.

        """

        def vectors(number: Expr) -> tirx.Stmt:
            to = self._vector(number * self._lanes)
            at = self._vector(start + first * self._width + number * self._lanes)
            dtype = "float32" if self._lanes == 1 else f"float32x{self._lanes}"
            value = tirx.Cast(dtype, tirx.BufferLoad(self._source, [at]))
            return tirx.BufferStore(self.buffer, value, [to])

        return loop(count * (self._width // self._lanes), vectors, "expand")

    def expanded(self, first: Expr) -> Expr:
        """Return where a tile whose rows are expanded from `first` on would begin."""
        return -(first * self._width)

    def _vector(self, at: Expr) -> Expr:
        return tirx.Ramp(at, _int(1), self._lanes) if self._lanes > 1 else at
