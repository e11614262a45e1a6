"""Panels of X for products in tiles, as bfloat16: as they were packed, or cut into parts.

X is a weight that was packed in panels, or any matrix whose columns lie side by side.

As in `rows.py`, the terms of a tap lie side by side and are filled up with zeros to whole tiles.
"""

from __future__ import annotations

import math

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.instructions import PANEL, TILE
from sam_tvm.kernels.amx.parts import pair_parts
from sam_tvm.kernels.amx.rows import TERMS, Terms
from sam_tvm.kernels.expressions import constant_value, integer, product, substitute
from sam_tvm.kernels.layout import constant_stride, scratch
from sam_tvm.kernels.loops import loop, nest, parallel, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.sums import flat_position
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.vectors import prefetch

_AHEAD = 16  # pairs that are fetched beforehand


def _int(value: int) -> Expr:
    return integer(value, "int64")


def _some(buffer: Var, at: Expr) -> Expr:
    return tirx.BufferLoad(buffer, [tirx.Ramp(at, _int(1), TILE)])


class ReadyPanels:
    """X that lies in memory as the tiles read it before a task begins."""

    def allocate(self, steps: int) -> list[tirx.Stmt]:
        """Return what a task declares: nothing."""
        return []

    def prepare(self, panel: Expr, first: Expr, steps: Expr) -> list[tirx.Stmt]:
        """Return what makes a panel's pass ready: nothing."""
        return []


class StoredPanels(ReadyPanels):
    """X as a bfloat16 build packed it: [panel][taps][pairs][columns]."""

    parts, part_step = 1, 0

    def __init__(self, contraction: Contraction, terms: Terms) -> None:
        self._terms = terms
        self.buffer = contraction.x.source
        self._rows = terms.steps * TILE
        self.statements: list[tirx.Stmt] = []

    def at(self, panel: Expr, first: Expr) -> Expr:
        """Return where the current tap's pairs of a panel begin, from step `first` on."""
        taps = product([axis.extent for axis in self._terms.taps])
        start = (panel * taps + flat_position(self._terms.taps)) * (self._rows * PANEL)
        return start + first * (TILE * PANEL)


class SplitPanels(ReadyPanels):
    """X cut into parts at each call: [panel][part][taps][pairs][columns].

    Of float32 three parts, of int8 one, and of pairs that fill no whole tiles a copy. That the
    weight is not stored in parts spares half of its memory.

    Attributes:
        statements: what allocates and fills the memory, in parallel.

    """

    def __init__(self, contraction: Contraction, terms: Terms, panels: Expr, parts: int) -> None:
        self.parts, self._c, self._terms = parts, contraction, terms
        self._rows = terms.steps * TILE
        self._cutter = _Cutter(contraction, terms, parts)
        taps = [constant_value(axis.extent) for axis in terms.taps]
        self.part_step = math.prod(taps) * self._rows * PANEL
        size = sym.Analyzer().simplify(panels * (parts * self.part_step))
        self.buffer, self.statements = scratch(size, "uint32", "panels")
        self.statements.append(self._fill(panels))

    def at(self, panel: Expr, first: Expr) -> Expr:
        """Return where the current tap's pairs of a panel's first part begin, from a step on."""
        taps = flat_position(self._terms.taps)
        start = panel * (self.parts * self.part_step) + taps * (self._rows * PANEL)
        return start + first * (TILE * PANEL)

    def _fill(self, panels: Expr) -> tirx.Stmt:
        panel = Axis(Var("panel", "int64"), panels, False)
        cut = self._cutter.cut(
            panel.var, (self.buffer, self.at(panel.var, _int(0)), self.part_step), self._rows
        )
        return parallel([panel], nest(self._terms.taps, cut))


class PassPanels:
    """X cut where it is used, a pass at a time: [part][pairs][columns].

    If few rows meet it, each task uses its panels once: parts need not go to memory and back.
    """

    def __init__(self, contraction: Contraction, terms: Terms, parts: int) -> None:
        self.parts, self._terms = parts, terms
        self._cutter = _Cutter(contraction, terms, parts)
        self.statements: list[tirx.Stmt] = []

    @staticmethod
    def takes(contraction: Contraction, terms: Terms) -> bool:
        """Tell whether the terms fill whole tiles, and are no taps of a convolution."""
        return terms.count % TERMS == 0 and not terms.taps and not contraction.pairs

    @staticmethod
    def takes_matrix(contraction: Contraction, terms: Terms) -> bool:
        """Tell whether X is a matrix of whole panels that can be cut like a packed weight."""
        index, columns = contraction.x.indices[0], constant_value(contraction.lane.extent)
        if columns is None or columns % PANEL or len(contraction.reduced) > 1:
            return False
        rows = constant_stride(index, terms.inner)
        return rows is not None and constant_stride(index, contraction.lane) == 1

    def allocate(self, steps: int) -> list[tirx.Stmt]:
        """Return what declares a task's memory, for passes of so many steps."""
        self.part_step = steps * TILE * PANEL
        self.buffer, statements = scratch(_int(self.parts * self.part_step), "uint32", "panel")
        return statements

    def prepare(self, panel: Expr, first: Expr, steps: Expr) -> list[tirx.Stmt]:
        """Return what cuts a panel's terms from step `first` on."""
        target = (self.buffer, _int(0), self.part_step)
        return [self._cutter.rows(panel, first * TILE, steps * TILE, target)]

    def at(self, panel: Expr, first: Expr) -> Expr:
        """Return where the pass's pairs begin."""
        return _int(0)


class _Cutter:
    """Cuts rows of pairs of X's panels into parts.

    A target is a buffer, the position of its first pair, and the distance between parts.
    """

    def __init__(self, contraction: Contraction, terms: Terms, parts: int) -> None:
        self._c, self._terms, self._parts = contraction, terms, parts
        form = contraction.panels
        self._is_paired = contraction.pairs
        self._words = constant_value(terms.inner.extent) if self._is_paired else terms.count // 2
        self._row = PANEL  # elements from a row that is stored to the next
        if form is None:
            self._row = constant_stride(contraction.x.indices[0], terms.inner)
        self._pair = self._row if self._is_paired else 2 * self._row

    def _source(self, panel: Expr) -> Expr:
        """Return where the current tap's terms of a panel begin."""
        terms = self._terms
        if self._c.panels is None:
            begin = {self._c.lane.var: _int(0), terms.inner.var: _int(0)}
            return substitute(self._c.x.indices[0], begin) + panel * PANEL
        taps = product([axis.extent for axis in terms.taps])
        stored = constant_value(terms.inner.extent)
        return (panel * taps + flat_position(terms.taps)) * (stored * PANEL)

    def cut(self, panel: Expr, target: tuple[Var, Expr, int], rows: int) -> tirx.Stmt:
        """Return what cuts all pairs, and fills up to `rows` of them with zeros."""
        statements = [self.rows(panel, _int(0), _int(self._words), target)]
        source = self._source(panel)
        for number in range(self._words, rows):
            statements.append(
                loop(
                    _int(PANEL // TILE),
                    lambda v, n=number: self._last(source + v * TILE, target, n, v * TILE),
                    "vector",
                )
            )
        return sequence(statements)

    def rows(
        self, panel: Expr, first: Expr, count: Expr, target: tuple[Var, Expr, int]
    ) -> tirx.Stmt:
        """Return what cuts `count` pairs from `first` on, which are all there."""
        source = self._source(panel)

        def row(number: Expr) -> tirx.Stmt:
            def vector(v: Expr) -> tirx.Stmt:
                here = source + (first + number) * self._pair + v * TILE
                return sequence(
                    [
                        *self._fetch(here + _AHEAD * self._pair),
                        self._vector(here, target, number * PANEL + v * TILE),
                    ]
                )

            return loop(_int(PANEL // TILE), vector, "vector")

        return loop(count, row, "row")

    def _fetch(self, at: Expr) -> list[tirx.Stmt]:
        rows = range(0, self._pair, self._row)
        return [prefetch(self._c.x.source, at + row) for row in rows]

    def _vector(self, source: Expr, target: tuple[Var, Expr, int], at: Expr) -> tirx.Stmt:
        """Return what stores a vector of pairs of a row that is there."""
        if self._is_paired:
            return self._put(target, at, [_some(self._c.x.source, source)])
        parts = pair_parts(self._parts, self._term(source), self._term(source + self._row))
        return self._put(target, at, parts)

    def _last(
        self, source: Expr, target: tuple[Var, Expr, int], number: int, column: Expr
    ) -> tirx.Stmt:
        """Return what stores a vector of pairs of which one term or none is there."""
        at = column + number * PANEL
        if not self._is_paired and 2 * number < self._terms.count:
            nothing = tirx.Broadcast(tirx.FloatImm("float32", 0.0), TILE)
            term = self._term(source + number * self._pair)
            return self._put(target, at, pair_parts(self._parts, term, nothing))
        words = tirx.Broadcast(tirx.const(0, "uint32"), TILE)
        return self._put(target, at, [words] * self._parts)

    def _term(self, at: Expr) -> Expr:
        value = _some(self._c.x.source, at)
        is_int8 = self._c.panels is not None and self._c.panels.int8
        return tirx.Cast(f"float32x{TILE}", value) if is_int8 else value

    def _put(self, target: tuple[Var, Expr, int], at: Expr, values: list[Expr]) -> tirx.Stmt:
        buffer, start, part_step = target
        stores = []
        for p, value in enumerate(values):
            to = tirx.Ramp(start + at + p * part_step, _int(1), TILE)
            stores.append(tirx.BufferStore(buffer, value, [to]))
        return sequence(stores)
