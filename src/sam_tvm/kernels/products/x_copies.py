"""X copied into the order of the tiles while a model runs: [tile][sums][width].

A tile that fits the cache is copied by the task that reads it, again for each block of rows: that
is a hundredth of what a full block multiplies. Else all tiles are copied first. Operands that are
multiplied as pairs of bfloat16 are rounded on the way. What lies in memory along the sums is turned
around in registers, a square at a time.
"""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import pair_lanes, round_pairs
from sam_tvm.kernels.expressions import constant_value, divide, integer, product, substitute
from sam_tvm.kernels.layout import constant_stride, scratch, stride
from sam_tvm.kernels.loops import loop, nest, parallel, vector
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.sums import flat_position
from sam_tvm.kernels.products.tiling import Tiling
from sam_tvm.kernels.products.x_operand import DirectX
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.vectors import Code, Lanes, transpose

_SMALLEST_SQUARE = 4  # lanes; what `transpose` can do


def _int(value: int) -> Expr:
    return integer(value, "int64")


class CopiedX(DirectX):
    """What both ways of copying have in common.

    Attributes:
        allocation: what declares the memory of the copy.

    """

    def __init__(self, contraction: Contraction, tiling: Tiling, tiles: Expr) -> None:
        super().__init__(contraction, tiling)
        self._source = contraction.x.source
        self._rows = product([axis.extent for axis in contraction.reduced])
        self._is_symbolic = constant_value(contraction.lane.extent) is None
        dtype = "uint32" if contraction.pairs else "float32"
        size = sym.Analyzer().simplify(tiles * self._rows * tiling.width)
        self.buffer, self.allocation = scratch(size, dtype, "copied_x")

    def at(self, start: Expr) -> Expr:
        """Return where the current row of the tile begins."""
        return start + flat_position(self._c.reduced) * self._t.width

    def _column(self, tile: Expr, lane: Expr) -> Expr:
        """Return a column of a tile, or the last one of all where the tile ends later."""
        column = self.first_column(tile) + lane
        return tirx.min(column, self._c.lane.extent - 1) if self._is_symbolic else column

    def _element(self, tile: Expr, lane: Expr) -> Expr:
        """Return where X's element of a tile's column and the current sum is."""
        return substitute(self._c.x.indices[0], {self._c.lane.var: self._column(tile, lane)})

    def _copy(self, tile: Expr, start: Expr) -> tirx.Stmt:
        """Return what copies a tile to a place of the copy."""
        if self._lies_along_sums():
            return self._turn(tile, start)
        if self._c.pairs:
            return self._pair_rows(tile, start)

        def copy(lane: Expr) -> tirx.Stmt:
            value = tirx.BufferLoad(self._source, [self._element(tile, lane)])
            return tirx.BufferStore(self.buffer, value, [self.at(start) + lane])

        lanes = self._t.lanes
        body = loop(
            _int(self._t.vectors),
            lambda v: vector(lanes, tile, lambda i: copy(v * lanes + i)),
            "vector",
        )
        return nest(self._c.reduced, body)

    def _lies_along_sums(self) -> bool:
        """Whether neighbours in memory are neighbours in the sum, and fill vectors."""
        (*others, last), index = self._c.reduced, self._c.x.indices[0]
        step = 1 + self._c.pairs
        if others or constant_stride(index, last) != step or self._t.lanes < _SMALLEST_SQUARE:
            return False
        extent = constant_value(last.extent)
        return extent is not None and extent >= self._t.lanes

    def _pair_rows(self, tile: Expr, start: Expr) -> tirx.Stmt:
        """Return the copy of rows of X, two of which become one of pairs."""
        c, lanes = self._c, Lanes(self._t.lanes)
        step = divide(stride(c.x.indices[0], c.reduced[-1]), 2)

        def pair(v: Expr) -> tirx.Stmt:
            at = self._element(tile, v * lanes.count)
            even, odd = lanes.load(self._source, at), lanes.load(self._source, at + step)
            to = self.at(start) + v * lanes.count
            return lanes.store(self.buffer, pair_lanes(even, odd), to)

        return nest(c.reduced, loop(_int(self._t.vectors), pair, "vector"))

    def _turn(self, tile: Expr, start: Expr) -> tirx.Stmt:
        """Return the copy of columns of X, a square of `lanes` columns and sums at a time.

        The last square of a column overlaps its neighbour.
        """
        (axis,), lanes = self._c.reduced, self._t.lanes
        extent = constant_value(axis.extent)

        def square(number: Expr, v: Expr) -> tirx.Stmt:
            first = number * lanes
            if extent % lanes:
                first = tirx.min(first, _int(extent - lanes))
            code = Code(Lanes(lanes))
            first = code.bind("first_sum", first)
            columns = [
                self._vector(
                    code, substitute(self._element(tile, v * lanes + i), {axis.var: first})
                )
                for i in range(lanes)
            ]
            for i, row in enumerate(transpose(code, columns, self.buffer.dtype)):
                to = start + (first + i) * self._t.width + v * lanes
                code.add(code.lanes.store(self.buffer, row, to))
            return code.body()

        def squares(v: Expr) -> tirx.Stmt:
            return loop(_int(-(-extent // lanes)), lambda n: square(n, v), "square")

        return loop(_int(self._t.vectors), squares, "vector")

    def _vector(self, code: Code, at: Expr) -> Expr:
        """Return as many sums' elements of one column as there are lanes."""
        lanes = code.lanes
        if not self._c.pairs:
            return code.name("column", lanes.load(self._source, at))
        halves = [round_pairs(lanes.load(self._source, at + i * lanes.count)) for i in (0, 1)]
        order = [tirx.IntImm("int32", i) for i in range(lanes.count)]
        return code.name("column", tirx.Shuffle(halves, order), "uint32")


class PackedX(CopiedX):
    """All of X, for all points of the axes that it has, copied before the tasks."""

    def __init__(self, contraction: Contraction, tiling: Tiling, tiles: Expr) -> None:
        index = contraction.x.indices[0]
        self._axes = [a for a in contraction.outer if constant_stride(index, a) != 0]
        self._axes += contraction.columns
        self._tiles = tiles
        points = product([axis.extent for axis in self._axes])
        super().__init__(contraction, tiling, points * tiles)

    def start(self, tile: Expr) -> Expr:
        """Return where a tile begins, at the current outer axes and columns."""
        panel = flat_position(self._axes) * self._tiles + tile
        return panel * self._rows * self._t.width

    def pack(self) -> list[tirx.Stmt]:
        """Return what allocates and fills the copy."""
        tile = Axis(Var("tile", "int64"), self._tiles, False)
        body = self._copy(tile.var, self.start(tile.var))
        return [*self.allocation, parallel([*self._axes, tile], body)]


class TileX(CopiedX):
    """One tile of X, copied by the task that multiplies a block of rows with it."""

    def __init__(self, contraction: Contraction, tiling: Tiling) -> None:
        super().__init__(contraction, tiling, _int(1))

    def start(self, tile: Expr) -> Expr:
        """Return where the tile begins."""
        return _int(0)

    def prepare(self, tile: Expr) -> list[tirx.Stmt]:
        """Return what copies a tile."""
        return [self._copy(tile, _int(0))]
