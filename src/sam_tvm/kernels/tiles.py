"""The contraction's loops: packing, the register tile, and storing through the epilogue."""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.contraction import Contraction
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    opaque,
    product,
    remainder,
    substitute,
)
from sam_tvm.kernels.layout import constant_stride, scratch
from sam_tvm.kernels.loops import loop, nest, parallel, sequence, vector, vector_loop
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.tiling import Tiling, column_splits

_I64 = "int64"
_FLOAT = "float32"


def _int(value: int) -> Expr:
    return integer(value, _I64)


class ContractionEmitter:
    """Emits one contraction; `emit` returns its statements."""

    def __init__(self, contraction: Contraction, tiling: Tiling, analyzer: sym.Analyzer) -> None:
        self.c, self.t, self.analyzer = contraction, tiling, analyzer
        self.width = contraction.lane.extent
        self.height = contraction.row.extent if contraction.row is not None else _int(1)
        self.sums = product([axis.extent for axis in contraction.reduced])
        self.tiles = self._simplify(divide_up(self.width, _int(tiling.width)))
        self.shared: list[tirx.Stmt] = []  # allocations of the whole function
        self.private: list[tirx.Stmt] = []  # allocations of one task
        self.packed_x = self._declare_packed_x() if tiling.pack_x else None
        self.packed_y = None
        if tiling.pack_y:
            size = self._simplify(self.sums * tiling.block_rows)
            self.packed_y, self.private = scratch(size, _FLOAT, "packed_y")
        self.tile, allocation = scratch(_int(tiling.block_rows * tiling.width), _FLOAT, "tile")
        self.private += allocation

    def _simplify(self, expr: Expr) -> Expr:
        return self.analyzer.simplify(expr)

    def _named(self, name: str, value: Expr, statements: list[tirx.Stmt]) -> Expr:
        """Bind a size that is not a number, so that it is computed and written once."""
        value = self._simplify(value)
        if constant_value(value) is not None or isinstance(value, Var):
            return value
        statements.append(tirx.Bind(Var(name, _I64), opaque(value)))
        return statements[-1].var

    def _divides(self, part: Expr, whole: Expr) -> bool:
        a, b = constant_value(part), constant_value(whole)
        return a is not None and b is not None and b % a == 0

    def _rows_from(self, first: Expr) -> Expr:
        """Return how many rows the block that starts at `first` has."""
        full = _int(self.t.block_rows)
        return full if self._divides(full, self.height) else tirx.min(full, self.height - first)

    # -- X: [outer of X, columns, tile][sums][width] ------------------------------------------

    def _declare_packed_x(self) -> Var:
        panels = product([a.extent for a in self._x_axes()]) * self.tiles
        size = self._simplify(panels * self.sums * self.t.width)
        buffer, self.shared = scratch(size, _FLOAT, "packed_x")
        return buffer

    def _x_axes(self) -> list[Axis]:
        """Return the outer axes that X depends on, then the columns."""
        index = self.c.x.indices[0]
        used = [a for a in self.c.outer if constant_stride(index, a) != 0]
        return [*used, *self.c.columns]

    def _x_panel(self, tile: Expr) -> Expr:
        """Return the number of the panel of X at the current outer axes and columns."""
        number: Expr = _int(0)
        for axis in self._x_axes():
            number = number * axis.extent + axis.var
        return number * self.tiles + tile

    def _flat_sum(self) -> Expr:
        number: Expr = _int(0)
        for axis in self.c.reduced:
            number = number * axis.extent + axis.var
        return number

    def _start(self, tile: Expr) -> Expr:
        """Return the first column of a tile; the last tile overlaps its neighbour.

        Columns computed twice get the same bits twice, so that nothing has to be masked.
        """
        start = tile * self.t.width
        known = constant_value(self.width)
        if known is None or known % self.t.width == 0:
            return start
        return tirx.min(start, _int(known - self.t.width))

    def _pack_x(self) -> tirx.Stmt:
        tile = Axis(Var("tile", _I64), self.tiles, False)
        symbolic = constant_value(self.width) is None

        def copy(lane: Expr) -> tirx.Stmt:
            column = self._start(tile.var) + lane
            if symbolic:
                column = tirx.min(column, self.width - 1)
            source = substitute(self.c.x.indices[0], {self.c.lane.var: column})
            at = (self._x_panel(tile.var) * self.sums + self._flat_sum()) * self.t.width + lane
            value = tirx.BufferLoad(self.c.x.source, [source])
            return tirx.BufferStore(self.packed_x, value, [at])

        lanes = self.t.lanes
        body = loop(
            _int(self.t.vectors),
            lambda v: vector(lanes, self.width, lambda i: copy(v * lanes + i)),
            "v",
        )
        return parallel([*self._x_axes(), tile], nest(self.c.reduced, body))

    # -- Y: [register tile][sums][rows] -------------------------------------------------------

    def _y_at(self, row: Expr) -> Expr:
        point = {} if self.c.row is None else {self.c.row.var: row}
        return tirx.BufferLoad(self.c.y.source, [substitute(self.c.y.indices[0], point)])

    def _clamped(self, row: Expr) -> Expr:
        known = constant_value(self.height)
        if known is not None and known % self.t.block_rows == 0:
            return row
        return tirx.min(row, self.height - 1)

    def _pack_y(self, first: Expr, blocks: Expr) -> tirx.Stmt:
        rows = self.t.rows

        def copy(block: Expr) -> tirx.Stmt:
            before: list[tirx.Stmt] = []
            inside: list[tirx.Stmt] = []
            sources = [
                self._named(f"row_{r}", self._clamped(first + block * rows + r), before)
                for r in range(rows)
            ]
            panel = self._named("panel", block * self.sums * rows, before)
            at = self._named("at", panel + self._flat_sum() * rows, inside)
            inside += [
                tirx.BufferStore(self.packed_y, self._y_at(row), [at + r])
                for r, row in enumerate(sources)
            ]
            return sequence([*before, nest(self.c.reduced, sequence(inside))])

        return loop(blocks, copy, "block")

    # -- the register tile --------------------------------------------------------------------

    def _wide(self, expr: Expr) -> Expr:
        return tirx.Broadcast(expr, self.t.lanes) if self.t.lanes > 1 else expr

    def _ramp(self, start: Expr) -> Expr:
        return tirx.Ramp(start, _int(1), self.t.lanes) if self.t.lanes > 1 else start

    def _register_tile(self, first: Expr, block: Expr, x: Expr, sums: list[Axis]) -> tirx.Stmt:
        """Sum over `sums` in registers, then add the register tile to the buffer `tile`.

        Each pass starts from zero: short sums added up err less than one long sum. `x` is where
        the tile begins in X: a position if X is packed, a column otherwise.
        """
        t = self.t
        cells = [(r, v) for r in range(t.rows) for v in range(t.vectors)]
        sum_of = {(r, v): tirx.decl_buffer((t.lanes,), _FLOAT, f"sum_{r}_{v}") for r, v in cells}
        whole = self._ramp(_int(0))
        zero = self._wide(tirx.FloatImm(_FLOAT, 0.0))
        before: list[tirx.Stmt] = [tirx.AllocBuffer(cell) for cell in sum_of.values()]
        before += [tirx.BufferStore(cell, zero, [whole]) for cell in sum_of.values()]
        origin = self._named("origin", block * (t.rows * t.width), before)
        if self.packed_y is not None:
            ys = [self._named("y_panel", block * self.sums * t.rows, before)]
        else:
            ys = [
                self._named(f"row_{r}", self._clamped(first + block * t.rows + r), before)
                for r in range(t.rows)
            ]
        after: list[tirx.Stmt] = []
        for r, v in cells:
            at = [self._ramp(origin + (r * t.width + v * t.lanes))]
            total = tirx.BufferLoad(self.tile, at) + tirx.BufferLoad(sum_of[r, v], [whole])
            after.append(tirx.BufferStore(self.tile, total, at))
        return sequence([*before, nest(sums, self._step(x, ys, sum_of)), *after])

    def _step(self, x: Expr, ys: list[Expr], sum_of: dict[tuple[int, int], Var]) -> tirx.Stmt:
        """Multiply and add one summed element into every cell of the register tile."""
        t = self.t
        whole = self._ramp(_int(0))
        statements: list[tirx.Stmt] = []
        xs = self._load_x(x, statements)
        if self.packed_y is not None:
            at = self._named("y_at", ys[0] + self._flat_sum() * t.rows, statements)
        for r in range(t.rows):
            if self.packed_y is not None:
                scalar = tirx.BufferLoad(self.packed_y, [at + r])
            else:
                scalar = self._y_at(ys[r])
            y = Var(f"y_{r}", xs[0].ty)
            statements.append(tirx.Bind(y, self._wide(scalar)))
            for v in range(t.vectors):
                cell = sum_of[r, v]
                total = tirx.BufferLoad(cell, [whole]) + y * xs[v]
                statements.append(tirx.BufferStore(cell, total, [whole]))
        return sequence(statements)

    def _load_x(self, x: Expr, statements: list[tirx.Stmt]) -> list[Var]:
        """Load the vectors of X for one summed element."""
        t = self.t
        if self.packed_x is not None:
            source, index = self.packed_x, x + self._flat_sum() * t.width
        else:
            source, index = self.c.x.source, substitute(self.c.x.indices[0], {self.c.lane.var: x})
        at = self._named("x_at", index, statements)
        vectors = []
        for v in range(t.vectors):
            load = tirx.BufferLoad(source, [self._ramp(at + v * t.lanes)])
            vectors.append(Var(f"x_{v}", load.ty))
            statements.append(tirx.Bind(vectors[-1], load))
        return vectors

    # -- one block of rows by one tile of columns ---------------------------------------------

    def _block(self, first: Expr, blocks: Expr, tile: Expr) -> tirx.Stmt:
        t = self.t
        zero = tirx.FloatImm(_FLOAT, 0.0)
        clear = loop(
            blocks * (t.rows * t.vectors),
            lambda i: tirx.BufferStore(self.tile, self._wide(zero), [self._ramp(i * t.lanes)]),
            "cell",
        )
        start_of_x: list[tirx.Stmt] = []
        x = self._start(tile)
        if self.packed_x is not None:
            x = self._x_panel(tile) * self.sums * t.width
        x = self._named("x", x, start_of_x)
        outermost, *others = self.c.reduced
        passes = self._simplify(divide_up(outermost.extent, _int(t.sum_block)))

        def one_pass(number: Expr) -> tirx.Stmt:
            start = number * t.sum_block
            known = constant_value(outermost.extent)
            if known is not None and known % t.sum_block == 0:
                steps = _int(t.sum_block)
            elif known is not None and known < t.sum_block:
                steps = _int(known)
            else:
                steps = tirx.min(_int(t.sum_block), outermost.extent - start)
            inner = Axis(Var(outermost.var.name, _I64), steps, True)
            body = loop(
                blocks,
                lambda b: self._register_tile(first, b, x, [inner, *others]),
                "block",
            )
            # The loop runs over a part of the axis: shift every use of its variable.
            return substitute(body, {outermost.var: start + inner.var})

        return sequence(
            [*start_of_x, clear, loop(passes, one_pass, "pass"), self._store(first, tile)]
        )

    def _store(self, first: Expr, tile: Expr) -> tirx.Stmt:
        t, c = self.t, self.c
        columns: Expr = _int(t.width)
        named: list[tirx.Stmt] = []
        if constant_value(self.width) is None:
            left = tirx.min(columns, self.width - tile * t.width)
            columns = self._named("columns", left, named)

        def cell(r: Expr, i: Expr) -> tirx.Stmt:
            point: dict[Var, Expr] = {c.lane.var: self._start(tile) + i}
            if c.row is not None:
                point[c.row.var] = first + r
            total = tirx.BufferLoad(self.tile, [r * t.width + i])
            value = substitute(substitute(c.value, point), {c.accumulator: total})
            return tirx.BufferStore(c.output, value, [substitute(c.index, point)])

        def row(r: Expr) -> tirx.Stmt:
            return vector_loop(columns, t.lanes, lambda i: cell(r, i), self.analyzer)

        return sequence([*named, loop(self.rows, row, "row")])

    # -- everything ---------------------------------------------------------------------------

    def emit(self) -> tirx.Stmt:
        """Return the statements: pack X, then tasks over outer axes, row blocks, columns."""
        t, c = self.t, self.c
        row_blocks = self._simplify(divide_up(self.height, _int(t.block_rows)))
        row_block = Axis(Var("row_block", _I64), row_blocks, False)
        statements: list[tirx.Stmt] = []
        row_tasks = self._named(
            "row_tasks", product([a.extent for a in c.outer]) * row_blocks, statements
        )
        all_tiles = self._named(
            "all_tiles", product([a.extent for a in c.columns]) * self.tiles, statements
        )
        splits = self._named("splits", column_splits(row_tasks, all_tiles), statements)
        per_task = self._named("per_task", divide_up(all_tiles, splits), statements)
        parts = self._named("parts", divide_up(all_tiles, per_task), statements)
        split = Axis(Var("split", _I64), parts, False)
        task: list[tirx.Stmt] = [*self.private]
        first = self._named("first_row", row_block.var * t.block_rows, task)
        self.rows = self._named("rows", self._rows_from(first), task)
        blocks = self._named("blocks", divide_up(self.rows, _int(t.rows)), task)
        begin = self._named("begin", split.var * per_task, task)
        count = per_task
        if not self._divides(per_task, all_tiles):
            count = self._named("count", tirx.min(per_task, all_tiles - begin), task)

        def one_tile(i: Expr) -> tirx.Stmt:
            bindings: list[tirx.Stmt] = []
            rest = begin + i
            tile = Var("tile", _I64)
            bindings.append(tirx.Bind(tile, remainder(rest, self.tiles)))
            rest = divide(rest, self.tiles)
            for axis in reversed(c.columns):
                bindings.append(tirx.Bind(axis.var, remainder(rest, axis.extent)))
                rest = divide(rest, axis.extent)
            return sequence([*bindings, self._block(first, blocks, tile)])

        if self.packed_y is not None:
            task.append(self._pack_y(first, blocks))
        task.append(loop(count, one_tile, "column"))
        if self.packed_x is not None:
            statements += [*self.shared, self._pack_x()]
        return sequence([*statements, parallel([*c.outer, row_block, split], sequence(task))])


def emit_contraction(contraction: Contraction, tiling: Tiling, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return the statements of a contraction."""
    return ContractionEmitter(contraction, tiling, analyzer).emit()
