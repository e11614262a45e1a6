"""Operands of products in tiles as digits of fixed point (`digits.py`), with their scales."""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.digit_cutting import cut_panel, cut_row
from sam_tvm.kernels.amx.digits import DIGITS, TERMS
from sam_tvm.kernels.amx.instructions import PANEL, TILE, spread
from sam_tvm.kernels.amx.rows import Terms
from sam_tvm.kernels.amx.weights import ReadyPanels
from sam_tvm.kernels.expressions import constant_value, divide_up, opaque, substitute
from sam_tvm.kernels.layout import scratch, stride
from sam_tvm.kernels.loops import loop, parallel
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.vectors import index

_ONE_PASS, _STEPS = 16, 4  # of 64 terms
_AHEAD = 3  # rows of Y that are fetched beforehand


class DigitRows:
    """A block of Y's rows: [pass][digit][row][words], and [pass][row] scales.

    Attributes:
        parts: digits of a number.
        most_steps: of a pass: all, where sums then become float32 once; else few, since shorter
            groups err less.
        takes_chunks: whether some passes can be copied before others.
        row_step, part_step: words between rows and between digits, once it is allocated.
        buffer, scales: the memory, once it is allocated.

    """

    parts, takes_chunks = DIGITS, True

    def __init__(self, contraction: Contraction, terms: Terms) -> None:
        self._c, self._terms = contraction, terms
        self.most_steps = _ONE_PASS if terms.steps <= _ONE_PASS else _STEPS
        row = contraction.row
        self._unit = index(0) if row is None else stride(contraction.y.indices[0], row)

    def words(self, rows: int, steps: int, passes: int) -> int:
        """Return the size of a block of rows, for passes of so many steps."""
        return passes * DIGITS * rows * spread(steps * TILE)

    def allocate(self, rows: int, steps: int, passes: int) -> list[tirx.Stmt]:
        """Return what declares the memory of a block."""
        self._rows, self._steps = rows, steps
        self.row_step = spread(steps * TILE)
        self.part_step = rows * self.row_step
        size = index(self.words(rows, steps, passes))
        self.buffer, words = scratch(size, "uint32", "rows")
        self.scales, scales = scratch(index(passes * rows), "float32", "row_scales")
        return [*words, *scales]

    def at(self, number: Expr, row: Expr) -> Expr:
        """Return where a row's words begin, in a pass."""
        return number * (DIGITS * self.part_step) + row * self.row_step

    def scales_at(self, number: Expr, row: Expr) -> Expr:
        """Return where the scales begin, from a row on."""
        return number * self._rows + row

    def copy(self, first: Expr, rows: Expr, begin: Expr, passes: Expr) -> tirx.Stmt:
        """Return what cuts rows from `first` on: some passes from pass `begin` on."""
        c, terms, per_pass = self._c, self._terms, self._steps * TERMS
        zero = {terms.inner.var: index(0)}
        if c.row is not None:
            zero[c.row.var] = first
        base = substitute(c.y.indices[0], zero)

        def row(number: Expr) -> tirx.Stmt:
            def one_pass(p: Expr) -> tirx.Stmt:
                begins = (begin + p) * per_pass
                return cut_row(
                    (c.y.source, base + number * self._unit + begins),
                    _part_of(terms, begins, self._steps),
                    (self.buffer, self.at(p, number), self.part_step),
                    (self.scales, self.scales_at(p, number)),
                    self._unit * _AHEAD,
                )

            return loop(passes, one_pass, "pass")

        return loop(rows, row, "row")


class DigitPanels(ReadyPanels):
    """Panels of X, cut at each call: [panel][digit][words][columns], [panel][pass][columns] scales.

    Attributes:
        parts: digits of a number.
        part_step: words between digits.
        buffer, scales: the memory.
        statements: what allocates and fills it, in parallel.

    """

    parts = DIGITS

    def __init__(self, contraction: Contraction, terms: Terms, panels: int, steps: int) -> None:
        self._c, self._terms, self._steps = contraction, terms, steps
        self._passes = -(-terms.steps // steps)
        self.part_step = terms.steps * TILE * PANEL
        size = panels * DIGITS * self.part_step
        self.buffer, self.statements = scratch(index(size), "uint32", "panels")
        self.scales, more = scratch(index(panels * self._passes * PANEL), "float32", "panel_scales")
        self.statements += [*more, self._fill(index(panels))]

    def at(self, panel: Expr, first: Expr) -> Expr:
        """Return where the words of a panel's first digit begin, from step `first` on."""
        return panel * (DIGITS * self.part_step) + first * (TILE * PANEL)

    def scales_at(self, panel: Expr, number: Expr) -> Expr:
        """Return where the scales of a panel begin, in a pass."""
        return (panel * self._passes + number) * PANEL

    def _fill(self, panels: Expr) -> tirx.Stmt:
        panel = Axis(Var("panel", "int64"), panels, False)
        start = panel.var * (constant_value(self._terms.inner.extent) * PANEL)

        def one_pass(p: Expr) -> tirx.Stmt:
            begins = p * (self._steps * TERMS)
            count, steps = _part_of(self._terms, begins, self._steps)
            return cut_panel(
                (self._c.x.source, start + begins * PANEL, PANEL),
                (count, steps),
                (self.buffer, self.at(panel.var, p * self._steps), self.part_step),
                (self.scales, self.scales_at(panel.var, p)),
            )

        return parallel([panel], loop(index(self._passes), one_pass, "pass"))


def _part_of(terms: Terms, begin: Expr, most_steps: int) -> tuple[Expr, Expr]:
    """Return a pass's terms, from `begin` on, and the steps that hold them.

    They are arguments of a function, for which TVM must not take a smaller type.
    """
    simplify = sym.Analyzer().simplify
    count = simplify(tirx.min(index(most_steps * TERMS), terms.count - begin))
    return opaque(count), opaque(simplify(divide_up(count, index(TERMS))))
