"""A contraction's operands: read where they lie, or copied into the order of the tiles first.

Each class answers three questions: what has to be done beforehand, where a tile begins, and where
it finds the element of the current summed point. Positions are linear indices into `buffer`.
"""

from __future__ import annotations

import math

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import round_pair, round_pairs, words_of
from sam_tvm.kernels.contraction import Contraction
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    product,
    substitute,
)
from sam_tvm.kernels.layout import constant_stride, scratch, stride
from sam_tvm.kernels.loops import loop, nest, parallel, sequence, vector
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.sums import flat_position
from sam_tvm.kernels.tiling import Tiling

_LINE = 16  # float32 or pairs in a cache line
_CONVERTED = 16  # float32 that one instruction rounds to bfloat16


def _int(value: int) -> Expr:
    return integer(value, "int64")


def _padded(length: Expr) -> Expr:
    """Return a row length of an odd number of cache lines, so that rows spread over the cache."""
    return (divide(divide_up(length, _LINE), 2) * 2 + 1) * _LINE


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


class PackedX(DirectX):
    """X packed at each call: [outer axes of X, its columns, tile][sums][width]."""

    def __init__(self, contraction: Contraction, tiling: Tiling, tiles: Expr) -> None:
        super().__init__(contraction, tiling)
        c, self._tiles = contraction, tiles
        self._axes = [a for a in c.outer if constant_stride(c.x.indices[0], a) != 0]
        self._axes += c.columns
        self._rows = product([axis.extent for axis in c.reduced])
        panels = product([axis.extent for axis in self._axes]) * tiles
        self.buffer, self._allocation = scratch(
            sym.Analyzer().simplify(panels * self._rows * tiling.width), "float32", "packed_x"
        )

    def start(self, tile: Expr) -> Expr:
        """Return where a tile begins, at the current outer axes and columns."""
        panel = flat_position(self._axes) * self._tiles + tile
        return panel * self._rows * self._t.width

    def at(self, start: Expr) -> Expr:
        """Return where the current row of the tile begins."""
        return start + flat_position(self._c.reduced) * self._t.width

    def pack(self) -> list[tirx.Stmt]:
        """Return what allocates and fills the panels."""
        c, t = self._c, self._t
        tile = Axis(Var("tile", "int64"), self._tiles, False)
        symbolic = constant_value(c.lane.extent) is None

        def copy(lane: Expr) -> tirx.Stmt:
            column = self.first_column(tile.var) + lane
            if symbolic:
                column = tirx.min(column, c.lane.extent - 1)
            source = substitute(c.x.indices[0], {c.lane.var: column})
            value = tirx.BufferLoad(c.x.source, [source])
            return tirx.BufferStore(self.buffer, value, [self.at(self.start(tile.var)) + lane])

        body = loop(
            _int(t.vectors),
            lambda v: vector(t.lanes, c.lane.extent, lambda i: copy(v * t.lanes + i)),
            "v",
        )
        return [*self._allocation, parallel([*self._axes, tile], nest(c.reduced, body))]


class DirectY:
    """Y in place.

    Attributes:
        buffer: what is read.
        row_step: elements between rows.
        is_copy: whether a block of rows is copied first, into memory that `allocation` declares.

    """

    is_copy = False

    def __init__(self, contraction: Contraction) -> None:
        self._c = contraction
        self.buffer = contraction.y.source
        self.allocation: list[tirx.Stmt] = []
        index, row = contraction.y.indices[0], contraction.row
        self.row_step = _int(0) if row is None else stride(index, row)

    def copy(self, first: Expr, rows: Expr) -> list[tirx.Stmt]:
        """Return what is done once per block of rows: nothing."""
        return []

    def at(self, first: Expr, row: Expr) -> Expr:
        """Return where the current element of a row is, the row counted from `first`."""
        index = self._c.y.indices[0]
        return index if self._c.row is None else substitute(index, {self._c.row.var: first + row})


class CopiedY(DirectY):
    """A block of Y with the summed elements of each row side by side: [row][sums]."""

    is_copy = True

    def __init__(self, contraction: Contraction, tiling: Tiling) -> None:
        super().__init__(contraction)
        self._source = contraction.y.source
        self.row_step = _padded(product([axis.extent for axis in contraction.reduced]))
        size = sym.Analyzer().simplify(self.row_step * tiling.block_rows)
        self.buffer, self.allocation = scratch(size, "float32", "copied_y")

    def copy(self, first: Expr, rows: Expr) -> list[tirx.Stmt]:
        """Return what copies a block of rows."""
        c = self._c

        def one(row: Expr) -> tirx.Stmt:
            value = tirx.BufferLoad(self._source, [super(CopiedY, self).at(first, row)])
            return tirx.BufferStore(self.buffer, value, [self.at(first, row)])

        if constant_stride(c.y.indices[0], c.reduced[-1]) == 1:
            return [loop(rows, lambda row: nest(c.reduced, one(row)), "row")]
        return [nest(c.reduced, loop(rows, one, "row"))]

    def at(self, first: Expr, row: Expr) -> Expr:
        """Return where the current element of a row is, the row counted from `first`."""
        return row * self.row_step + flat_position(self._c.reduced)


class PairedY(DirectY):
    """A block of Y as pairs of bfloat16: [axes that rows do not share][pixel][pairs].

    A pixel is what one step of the innermost summed axis and its rows lead through: for a matrix a
    row, for a convolution a pixel of the picture, which neighbouring rows and taps share.
    """

    is_copy = True

    def __init__(self, contraction: Contraction, tiling: Tiling) -> None:
        super().__init__(contraction)
        c = contraction
        self._source, index = c.y.source, c.y.indices[0]
        *taps, self._inner = c.reduced
        self._terms = 2 * constant_value(self._inner.extent) - int(c.panels.odd)
        row_step = constant_value(self.row_step)
        self._unit: Expr | int = self.row_step
        self._shared: list[tuple[Axis, int]] = []
        self._taps = taps
        if row_step:
            reach = row_step * tiling.block_rows
            steps = [(axis, constant_stride(index, axis)) for axis in taps]
            near = [(axis, s) for axis, s in steps if s is not None and 0 < s < reach]
            unit = math.gcd(row_step, *(s for _, s in near))
            if unit >= self._terms:
                self._unit, self._shared = unit, [(axis, s // unit) for axis, s in near]
                self._taps = [axis for axis, s in steps if s is None or not 0 < s < reach]
        self._rows_apart = row_step // self._unit if self._shared else 1
        self._cell = constant_value(sym.Analyzer().simplify(_padded(self._inner.extent)))
        self._pixels = self._pixels_of(_int(tiling.block_rows))
        self.row_step = _int(self._rows_apart * self._cell)
        size = product([axis.extent for axis in self._taps]) * self._pixels * self._cell
        self.buffer, self.allocation = scratch(sym.Analyzer().simplify(size), "uint32", "paired_y")

    def _pixels_of(self, rows: Expr) -> Expr:
        last = sum((axis.extent - 1) * step for axis, step in self._shared)
        return (rows - 1) * self._rows_apart + last + 1

    def _cell_at(self, pixel: Expr) -> Expr:
        return (flat_position(self._taps) * self._pixels + pixel) * self._cell

    def at(self, first: Expr, row: Expr) -> Expr:
        """Return where the current pair of a row is, the row counted from `first`."""
        pixel = row * self._rows_apart
        for axis, step in self._shared:
            pixel = pixel + axis.var * step
        return self._cell_at(pixel) + self._inner.var

    def copy(self, first: Expr, rows: Expr) -> list[tirx.Stmt]:
        """Return what rounds a block of rows."""
        shared = [axis for axis, _ in self._shared]
        zero = {axis.var: _int(0) for axis in [self._inner, *shared]}
        base = substitute(super().at(first, _int(0)), zero)

        def pixel(number: Expr) -> tirx.Stmt:
            return sequence(self._round(base + number * self._unit, self._cell_at(number)))

        return [nest(self._taps, loop(self._pixels_of(rows), pixel, "pixel"))]

    def _round(self, source: Expr, target: Expr) -> list[tirx.Stmt]:
        """Return what rounds `terms` elements, whole vectors first."""
        if str(self._source.dtype) == "uint16":
            return [self._copy(source, target)]
        whole = self._terms // _CONVERTED

        def vectors(number: Expr) -> tirx.Stmt:
            at = tirx.Ramp(source + number * _CONVERTED, _int(1), _CONVERTED)
            pairs = round_pairs(tirx.BufferLoad(self._source, [at]))
            to = tirx.Ramp(target + number * (_CONVERTED // 2), _int(1), _CONVERTED // 2)
            return tirx.BufferStore(self.buffer, pairs, [to])

        statements = [loop(_int(whole), vectors, "vector")] if whole else []
        for position in range(whole * _CONVERTED, self._terms, 2):
            odd: Expr = tirx.FloatImm("float32", 0.0)
            if position + 1 < self._terms:
                odd = tirx.BufferLoad(self._source, [source + position + 1])
            pair = round_pair(tirx.BufferLoad(self._source, [source + position]), odd)
            statements.append(tirx.BufferStore(self.buffer, pair, [target + position // 2]))
        return statements

    def _copy(self, source: Expr, target: Expr) -> tirx.Stmt:
        """Return what copies elements that were rounded before; they fill cache lines."""

        def line(number: Expr) -> tirx.Stmt:
            at = tirx.Ramp(source + number * (2 * _LINE), _int(1), 2 * _LINE)
            to = tirx.Ramp(target + number * _LINE, _int(1), _LINE)
            words = words_of(tirx.BufferLoad(self._source, [at]))
            return tirx.BufferStore(self.buffer, words, [to])

        return loop(_int(self._terms // (2 * _LINE)), line, "line")


def x_operand(
    contraction: Contraction, tiling: Tiling, tiles: Expr, rows: int | None
) -> DirectX | PanelX:
    """Return how X is read; `rows` of a panel at a time where it has to be expanded."""
    if contraction.panels is not None and contraction.panels.int8:
        return ExpandedX(contraction, tiling.lanes, rows)
    if contraction.panels is not None:
        return PanelX(contraction)
    if tiling.pack_x:
        return PackedX(contraction, tiling, tiles)
    return DirectX(contraction, tiling)


def y_operand(contraction: Contraction, tiling: Tiling) -> DirectY:
    """Return how Y is read."""
    if contraction.panels is not None and contraction.panels.pairs:
        return PairedY(contraction, tiling)
    return CopiedY(contraction, tiling) if tiling.copy_y else DirectY(contraction)
