"""A contraction's tasks in matrix tiles: a block of Y's rows by some panels of X.

A strip of 32 rows by a panel of 32 columns stays in the tile registers for a pass of the sum, whose
part of the panel stays in the first-level cache while all strips meet it. Y's block stays in the
second-level cache. What a pass leaves is added to the sums by the vector unit while the tiles
multiply for the next one.
"""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx import instructions as tiles
from sam_tvm.kernels.amx.choice import few_rows
from sam_tvm.kernels.amx.digit_operands import DigitRows
from sam_tvm.kernels.amx.instructions import BLOCK, PANEL, TILE
from sam_tvm.kernels.amx.library import import_tiles
from sam_tvm.kernels.amx.multiplication import Operands, multiply
from sam_tvm.kernels.amx.plan import plan_product
from sam_tvm.kernels.amx.waiting import Pass
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    product,
)
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop, named, nest, parallel, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.stores import store_sums, streamed_lanes
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.streaming import end_of_stream, stream
from sam_tvm.kernels.tasks import row_blocks

_TASKS = 8
_PANELS_PER_TASK = 2


def _int(value: int) -> Expr:
    return integer(value, "int64")


class TileProduct:
    """Emits one contraction, for few rows or for any number."""

    def __init__(self, contraction: Contraction, analyzer: sym.Analyzer, few: bool) -> None:
        self.c, self.analyzer = contraction, analyzer
        self.height = contraction.row.extent if contraction.row is not None else _int(1)
        self.columns = constant_value(contraction.lane.extent)
        self.panels = -(-self.columns // PANEL)
        self.column_tiles = 1 if self.columns <= TILE else 2
        plan = plan_product(contraction, self.height, few)
        self.terms, self.y, self.x, self.b = plan.terms, plan.y, plan.x, plan.blocking
        self.products, self.waiting = plan.products, plan.waiting

    def _named(self, name: str, value: Expr, statements: list[tirx.Stmt]) -> Expr:
        return named(name, value, statements, self.analyzer)

    def emit(self) -> tirx.Stmt:
        """Return the statements."""
        statements: list[tirx.Stmt] = [tiles.permit(), *self.x.statements]
        per_block, count = row_blocks(self.height, self.b.rows, BLOCK, statements, self.analyzer)
        row_block = Axis(Var("row_block", "int64"), count, False)
        row_tasks = product([a.extent for a in self.c.outer]) * count
        row_tasks = self._named("row_tasks", row_tasks, statements)
        wanted = divide(row_tasks + (_TASKS - 1), row_tasks)
        if self.b.most_panels is not None:
            wanted = tirx.max(wanted, _int(-(-self.panels // self.b.most_panels)))
        splits = tirx.min(wanted, _int(max(1, self.panels // _PANELS_PER_TASK)))
        per_task = divide_up(_int(self.panels), self._named("splits", splits, statements))
        per_task = self._named("per_task", per_task, statements)
        parts = self._named("parts", divide_up(_int(self.panels), per_task), statements)
        split = Axis(Var("split", "int64"), parts, False)
        block = (row_block.var * per_block, per_block)
        task = self._task(block, split.var * per_task, per_task)
        statements.append(parallel([*self.c.outer, row_block, split], task))
        return import_tiles(sequence(statements))

    def _task(self, block: tuple[Expr, Expr], begin: Expr, per_task: Expr) -> tirx.Stmt:
        b = self.b
        statements: list[tirx.Stmt] = [*self.y.allocate(b.rows, b.steps, b.chunk)]
        statements += self.x.allocate(b.steps)
        first = self._named("first_row", block[0], statements)
        rows = block[1]
        if (constant_value(self.height) or 1) % b.rows:
            rows = self._named("rows", tirx.min(rows, self.height - first), statements)
        begin = self._named("begin", begin, statements)
        count = self._named("count", tirx.min(per_task, self.panels - begin), statements)
        waiting = per_task if b.panels is None else _int(min(b.panels, self.panels))
        size = self.analyzer.simplify(waiting * (b.rows * PANEL))
        if self.waiting is None:
            self.sums, allocation = scratch(size, "float32", "sums")
        else:
            self.sums, allocation = self.waiting.allocate(size)
        statements += [*allocation, tiles.configure()]
        end = [tiles.release(), end_of_stream()]
        run = self._in_groups if b.chunks == 1 else self._in_chunks
        return sequence([*statements, *run(first, rows, begin, count), *end])

    def _in_groups(self, first: Expr, rows: Expr, begin: Expr, count: Expr) -> list[tirx.Stmt]:
        """Return what adds all terms of some panels, stores their sums, and goes on to others."""
        size = self.b.panels
        passes = _int(self.b.passes)

        def group(number: Expr) -> tirx.Stmt:
            statements: list[tirx.Stmt] = []
            start = self._named("start", begin + number * size, statements)
            some = self._named("some", tirx.min(_int(size), count - number * size), statements)
            statements.append(self._add(rows, start, some, _int(0), passes))
            statements.append(self._store(first, rows, start, some))
            return sequence(statements)

        copy = self.y.copy(first, rows, _int(0), passes)
        return [copy, loop(self.analyzer.simplify(divide_up(count, size)), group, "group")]

    def _in_chunks(self, first: Expr, rows: Expr, begin: Expr, count: Expr) -> list[tirx.Stmt]:
        """Return what adds chunk after chunk of the terms of all panels, and stores their sums."""
        size = self.b.chunk

        def chunk(number: Expr) -> tirx.Stmt:
            passes: Expr = _int(size)
            if self.b.passes % size:
                passes = tirx.min(passes, self.b.passes - number * size)
            return sequence(
                [
                    self.y.copy(first, rows, number * size, passes),
                    self._add(rows, begin, count, number * size, passes),
                ]
            )

        return [
            loop(_int(self.b.chunks), chunk, "chunk"),
            self._store(first, rows, begin, count),
        ]

    def _add(
        self, rows: Expr, begin: Expr, count: Expr, first_pass: Expr, passes: Expr
    ) -> tirx.Stmt:
        """Return what adds the products of some passes to the sums of `count` panels."""

        def panel(number: Expr) -> tirx.Stmt:
            def one_pass(p: Expr) -> tirx.Stmt:
                statements: list[tirx.Stmt] = []
                which = self._named("which", first_pass + p, statements)
                first = which * self.b.steps
                steps: Expr = _int(self.b.steps)
                if self.terms.steps % self.b.steps:
                    steps = tirx.min(steps, self.terms.steps - first)
                statements += self.x.prepare(begin + number, first, steps)
                strips = loop(
                    divide_up(rows, BLOCK),
                    lambda s: self._strip(
                        (s, rows - s * BLOCK), (number, begin + number), (p, which), steps
                    ),
                    "strip",
                )
                return sequence([*statements, nest(self.terms.taps, strips)])

            return loop(passes, one_pass, "pass")

        add = loop(count, panel, "panel")
        return add if self.waiting is None else sequence([add, self.waiting.flush()])

    def _strip(
        self,
        strip: tuple[Expr, Expr],
        panel: tuple[Expr, Expr],
        part: tuple[Expr, Expr],
        steps: Expr,
    ) -> tirx.Stmt:
        """Return one pass of a strip by a panel.

        Args:
            strip: its number, and how many rows are left from its first on.
            panel: its number among the task's, and among all.
            part: the pass's number in the chunk, and among all.
            steps: of the pass.
        """
        statements: list[tirx.Stmt] = []
        (number, left), (here, panel_number), (current, which) = strip, panel, part
        row = number * BLOCK
        at = here * (self.b.rows * PANEL) + row * PANEL
        at = self._named("at", at, statements)
        y_at = self._named("y_at", self.y.at(current, row), statements)
        x_at = self.x.at(panel_number, which * self.b.steps)
        x_at = self._named("x_at", x_at, statements)
        y = (self.y.buffer, y_at, self.y.row_step, self.y.part_step)
        operands = Operands(*y, self.x.buffer, x_at, self.x.part_step, steps)
        scales = ()
        if isinstance(self.y, DigitRows):
            scales = (self.y.scales_at(current, row), self.x.scales_at(panel_number, which))

        def block(row_tiles: int) -> tirx.Stmt:
            shape = (row_tiles, self.column_tiles)
            if self.waiting is not None:
                one = Pass(shape, operands, self._is_first(which), at, *scales)
                return sequence(self.waiting.run(one))
            products = [multiply(shape, listed, operands) for listed in self.products]
            store = tiles.store(*shape, self.sums, at, PANEL)
            return sequence([tiles.zero(*shape), *products, store])

        known = constant_value(self.height)
        if known is not None and known <= TILE:
            statements.append(block(1))
        elif known is not None and known % BLOCK == 0:
            statements.append(block(2))
        else:
            statements.append(tirx.IfThenElse(left > TILE, block(2), block(1)))
        return sequence(statements)

    def _is_first(self, which: Expr) -> Expr:
        """Return whether a pass is the first of its sums."""
        first = tirx.EQ(which, _int(0))
        for axis in self.terms.taps:
            first = tirx.And(first, tirx.EQ(axis.var, _int(0)))
        return first

    def _store(self, first: Expr, rows: Expr, begin: Expr, count: Expr) -> tirx.Stmt:
        """Return what stores the sums of panels through the epilogue, row after row."""
        streamed = streamed_lanes(self.c)

        def row(r: Expr) -> tirx.Stmt:
            def panel(number: Expr) -> tirx.Stmt:
                place = number * (self.b.rows * PANEL) + r * PANEL
                left = (begin + number) * PANEL
                columns: Expr = _int(min(PANEL, self.columns))
                if self.columns % PANEL and self.panels > 1:
                    columns = tirx.min(columns, self.columns - left)
                return store_sums(
                    self.c,
                    streamed or TILE,
                    (self.sums, place, PANEL),
                    (first + r, _int(1)),
                    (left, columns),
                    self.analyzer,
                    None if streamed is None else stream,
                )

            return loop(count, panel, "panel")

        return loop(rows, row, "row")


def emit_contraction(contraction: Contraction, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return the statements of a contraction that `choice.takes` accepts.

    Where the number of rows decides how X is cut and is not known, they are there for both ways.
    """
    few = few_rows(contraction)
    if isinstance(few, bool):
        return TileProduct(contraction, analyzer, few).emit()
    ways = [TileProduct(contraction, analyzer, is_few).emit() for is_few in (True, False)]
    return tirx.IfThenElse(few, *ways)
