"""Rows of Y for products in tiles, as bfloat16: rounded, or cut into parts.

The terms of a point of the outer summed axes (a tap of a convolution) lie side by side and are
filled up with zeros to whole tiles, so that a tile never reaches into what belongs to another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.instructions import TILE, spread
from sam_tvm.kernels.amx.parts import parts_of
from sam_tvm.kernels.bfloat16 import words_of
from sam_tvm.kernels.expressions import constant_value, integer, substitute
from sam_tvm.kernels.layout import constant_stride, scratch, stride
from sam_tvm.kernels.loops import loop, nest, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.sums import flat_position
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.vectors import prefetch

TERMS = 2 * TILE  # terms of a tile
_VECTOR = 16  # float32 that are rounded at once
_STEPS = {1: 8, 3: 4}  # by parts
_AHEAD = 3  # rows of Y that are fetched beforehand


def _int(value: int) -> Expr:
    return integer(value, "int64")


def _some(buffer: Var, at: Expr, lanes: int = _VECTOR) -> Expr:
    return tirx.BufferLoad(buffer, [tirx.Ramp(at, _int(1), lanes)])


@dataclass(frozen=True)
class Terms:
    """The summed axes of a contraction.

    Attributes:
        taps: all but the innermost.
        inner: the innermost, over terms or, in a bfloat16 build, over pairs of them.
        count: terms of the innermost axis.
        steps: tiles that hold them.
    """

    taps: tuple[Axis, ...]
    inner: Axis
    count: int
    steps: int

    @classmethod
    def of(cls, contraction: Contraction, per_tile: int = TERMS) -> Terms:
        """Return those of a contraction, for tiles of so many terms."""
        *taps, inner = contraction.reduced
        count = constant_value(inner.extent)
        if contraction.pairs:
            count = 2 * count - int(contraction.odd)
        return cls(tuple(taps), inner, count, -(-count // per_tile))


class Rows:
    """A block of Y's rows: [taps that share no pixels][pass][part][pixel][words].

    A word is two bfloat16, a pass some tiles of terms, and a pixel what a row and a tap lead to:
    for a matrix a row, for a convolution a pixel of the picture, which neighbouring rows and taps
    share. What a strip reads in a pass lies together.

    Attributes:
        parts: how many each number is cut into.
        most_steps: of a pass: with as much of X, 16 or 24 KiB of the first-level cache.
        takes_chunks: whether some passes can be copied before others.
        row_step, part_step: words between rows and between parts, once it is allocated.

    """

    def __init__(self, contraction: Contraction, terms: Terms, parts: int) -> None:
        self.parts, self._c, self._terms = parts, contraction, terms
        self.most_steps = _STEPS[parts]
        self.takes_chunks = not terms.taps and terms.count % TERMS == 0
        index, row = contraction.y.indices[0], contraction.row
        self._source = contraction.y.source
        self._unit: Expr | int = _int(0) if row is None else stride(index, row)
        self._shared: list[tuple[Axis, int]] = []
        self._taps = list(terms.taps)
        self._rows_apart = 1
        step = None if row is None else constant_stride(index, row)
        steps = [(axis, constant_stride(index, axis)) for axis in terms.taps]
        if step:
            near = [(axis, s) for axis, s in steps if s is not None and 0 < s < step * TERMS]
            unit = math.gcd(step, *(s for _, s in near))
            if unit >= terms.count:
                self._unit, self._shared = unit, [(axis, s // unit) for axis, s in near]
                taken = {axis.var for axis, _ in near}
                self._taps = [axis for axis in terms.taps if axis.var not in taken]
                self._rows_apart = step // unit

    def _pixels_of(self, rows: int) -> int:
        reach = sum((constant_value(axis.extent) - 1) * step for axis, step in self._shared)
        return (rows - 1) * self._rows_apart + reach + 1

    def words(self, rows: int, steps: int, passes: int) -> int:
        """Return the size of a block of rows, for passes of so many steps."""
        taps = math.prod(constant_value(axis.extent) for axis in self._taps)
        return taps * passes * self.parts * self._pixels_of(rows) * spread(steps * TILE)

    def allocate(self, rows: int, steps: int, passes: int) -> list[tirx.Stmt]:
        """Return what declares the memory of a block."""
        self._steps, self._passes, self._cell = steps, passes, spread(steps * TILE)
        self.row_step = self._rows_apart * self._cell
        self.part_step = self._pixels_of(rows) * self._cell
        size = _int(self.words(rows, steps, passes))
        self.buffer, statements = scratch(size, "uint32", "rows")
        return statements

    def _pass(self, number: Expr) -> Expr:
        """Return where a pass of the current tap begins."""
        return (flat_position(self._taps) * self._passes + number) * (self.parts * self.part_step)

    def at(self, number: Expr, row: Expr) -> Expr:
        """Return where the current tap's words of a row begin, in a pass."""
        pixel = row * self._rows_apart
        for axis, step in self._shared:
            pixel = pixel + axis.var * step
        return self._pass(number) + pixel * self._cell

    def copy(self, first: Expr, rows: Expr, begin: Expr, passes: Expr) -> tirx.Stmt:
        """Return what copies rows from `first` on: some passes from pass `begin` on."""
        c = self._c
        zero = {axis.var: _int(0) for axis, _ in self._shared}
        zero[self._terms.inner.var] = _int(0)
        if c.row is not None:
            zero[c.row.var] = first
        base = substitute(c.y.indices[0], zero)
        reach = sum(((axis.extent - 1) * step for axis, step in self._shared), _int(0))
        pixels = sym.Analyzer().simplify((rows - 1) * self._rows_apart + reach + 1)

        def pixel(number: Expr) -> tirx.Stmt:
            source, target = base + number * self._unit, number * self._cell
            return sequence(self._round(source, target, begin, passes))

        return nest(self._taps, loop(pixels, pixel, "pixel"))

    def _round(self, source: Expr, target: Expr, begin: Expr, passes: Expr) -> list[tirx.Stmt]:
        """Return what rounds a pixel's terms; those beyond the last are zeros."""
        if str(self._source.dtype) == "uint16":
            return [self._copy(source, target, begin, passes)]
        count, per_pass = self._terms.count, self._steps * TERMS // _VECTOR
        whole = count // _VECTOR

        def one_pass(number: Expr) -> tirx.Stmt:
            first = (begin + number) * per_pass
            size: Expr = _int(per_pass)
            if whole % per_pass:
                size = tirx.min(size, whole - first)

            def vectors(v: Expr) -> tirx.Stmt:
                at = source + (first + v) * _VECTOR
                values = _some(self._source, at)
                store = self._store(values, self._pass(number) + target + v * (_VECTOR // 2))
                # A few lines of each row are too few for the hardware to foresee the next.
                return sequence([prefetch(self._source, at + self._unit * _AHEAD), store])

            return loop(size, vectors, "vector")

        statements = [loop(passes, one_pass, "pass")] if whole else []
        for number in range(whole, self._terms.steps * TERMS // _VECTOR):  # all in one chunk
            lanes = []
            for term in range(number * _VECTOR, (number + 1) * _VECTOR):
                load = tirx.BufferLoad(self._source, [source + min(term, count - 1)])
                lanes.append(load if term < count else tirx.FloatImm("float32", 0.0))
            order = [integer(i, "int32") for i in range(_VECTOR)]
            at = self._pass(_int(number // per_pass)) + target
            at = at + number % per_pass * (_VECTOR // 2)
            statements.append(self._store(tirx.Shuffle(lanes, order), at))
        return statements

    def _copy(self, source: Expr, target: Expr, begin: Expr, passes: Expr) -> tirx.Stmt:
        """Return what copies a pixel's terms that were rounded before; they fill their tiles."""
        steps = self._terms.steps

        def one_pass(number: Expr) -> tirx.Stmt:
            first = (begin + number) * self._steps
            size: Expr = _int(self._steps)
            if steps % self._steps:
                size = tirx.min(size, steps - first)

            def line(v: Expr) -> tirx.Stmt:
                at = source + (first + v) * TERMS
                value = words_of(_some(self._source, at, TERMS))
                to = tirx.Ramp(self._pass(number) + target + v * TILE, _int(1), TILE)
                store = tirx.BufferStore(self.buffer, value, [to])
                return sequence([prefetch(self._source, at + self._unit * _AHEAD), store])

            return loop(size, line, "line")

        return loop(passes, one_pass, "pass")

    def _store(self, values: Expr, at: Expr) -> tirx.Stmt:
        value = tirx.decl_buffer((_VECTOR,), "float32", "value")
        whole = [tirx.Ramp(_int(0), _int(1), _VECTOR)]
        stores: list[tirx.Stmt] = [
            tirx.AllocBuffer(value),
            tirx.BufferStore(value, values, whole),
        ]
        for p, stored in enumerate(parts_of(self.parts, tirx.BufferLoad(value, whole))):
            to = tirx.Ramp(at + p * self.part_step, _int(1), _VECTOR // 2)
            stores.append(tirx.BufferStore(self.buffer, stored, [to]))
        return sequence(stores)
