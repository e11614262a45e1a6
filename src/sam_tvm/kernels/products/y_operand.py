"""Y of a contraction: read where it lies, or copied a block of rows at a time.

Each class answers three questions: what has to be done beforehand, how far apart rows are, and
where the current summed element of a row is. Positions are linear indices into `buffer`.
"""

from __future__ import annotations

import math

from tvm import sym, tirx
from tvm.ir import Expr

from sam_tvm.kernels.bfloat16 import round_pair, round_pairs, words_of
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    product,
    substitute,
)
from sam_tvm.kernels.layout import constant_stride, scratch, stride
from sam_tvm.kernels.loops import loop, nest, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.sums import flat_position
from sam_tvm.kernels.products.tiling import Tiling
from sam_tvm.kernels.program import Axis

_LINE = 16  # float32 or pairs in a cache line
_CONVERTED = 16  # float32 that one instruction rounds to bfloat16


def _int(value: int) -> Expr:
    return integer(value, "int64")


def _padded(length: Expr) -> Expr:
    """Return a row length of an odd number of cache lines, so that rows spread over the cache."""
    return (divide(divide_up(length, _LINE), 2) * 2 + 1) * _LINE


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
        self._terms = 2 * constant_value(self._inner.extent) - int(c.odd)
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


def y_operand(contraction: Contraction, tiling: Tiling) -> DirectY:
    """Return how Y is read."""
    if contraction.pairs:
        return PairedY(contraction, tiling)
    return CopiedY(contraction, tiling) if tiling.copy_y else DirectY(contraction)
