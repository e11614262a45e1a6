"""The register tile: rows x vectors of sums that stay in registers while a pass adds them up."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import add_dot_pairs
from sam_tvm.kernels.expressions import constant_value, integer
from sam_tvm.kernels.loops import loop, named, sequence
from sam_tvm.kernels.products.sums import SumPasses
from sam_tvm.kernels.products.x_operand import DirectX, PanelX
from sam_tvm.kernels.products.y_operand import DirectY


def _int(value: int) -> Expr:
    return integer(value, "int64")


@dataclass(frozen=True)
class Place:
    """A tile's place in a block of rows.

    Attributes:
        row: its first row.
        rows: how many.
        vectors: its width.
        sums: where its sums begin in their buffer.

    """

    row: Expr
    rows: int
    vectors: int
    sums: Expr


@dataclass(frozen=True)
class PassRange:
    """Successive passes of a sum."""

    begin: Expr
    count: Expr


class RegisterTile:
    """Emits the sums of one tile.

    Attributes:
        lanes: float32 per vector.
        buffer: where the sums go, float32, rows after one another.

    """

    def __init__(
        self,
        x: DirectX | PanelX,
        y: DirectY,
        passes: SumPasses,
        lanes: int,
        buffer: Var,
        pairs: bool,
        analyzer: sym.Analyzer,
    ) -> None:
        self.lanes, self.buffer = lanes, buffer
        self._x, self._y, self._passes, self._pairs = x, y, passes, pairs
        self._analyzer = analyzer

    def emit(self, x_start: Expr, first: Expr, place: Place, passes: PassRange) -> tirx.Stmt:
        """Return what leaves the sums in the buffer; the sum's first pass overwrites it.

        Args:
            x_start: where the tile begins in X.
            first: the first row of the block.
            place: the tile's place in the block.
            passes: which passes to add up.

        """
        sums = {
            (r, v): tirx.decl_buffer((self.lanes,), "float32", f"sum_{r}_{v}")
            for r in range(place.rows)
            for v in range(place.vectors)
        }
        statements = self._load_x(x_start, place.vectors)
        xs = [statement.var for statement in statements[-place.vectors :]]
        statements += self._add_products(sums, xs, first, place.row)

        def one_pass(number: Expr) -> tirx.Stmt:
            zero = self._wide(tirx.FloatImm("float32", 0.0))
            clear = [tirx.BufferStore(s, zero, [self._lanes(_int(0))]) for s in sums.values()]
            number = passes.begin + number
            loops = self._passes.body(number, sequence(statements))
            return sequence([*clear, loops, self._leave(sums, place, number)])

        allocations = [tirx.AllocBuffer(buffer) for buffer in sums.values()]
        return sequence([*allocations, loop(passes.count, one_pass, "pass")])

    def _wide(self, expr: Expr) -> Expr:
        return tirx.Broadcast(expr, self.lanes) if self.lanes > 1 else expr

    def _lanes(self, start: Expr) -> Expr:
        return tirx.Ramp(start, _int(1), self.lanes) if self.lanes > 1 else start

    def _load_x(self, x_start: Expr, vectors: int) -> list[tirx.Stmt]:
        """Bind the vectors of X for the current summed element, in the last statements."""
        statements: list[tirx.Stmt] = []
        at = named("x_at", self._x.at(x_start), statements, self._analyzer)
        for v in range(vectors):
            load = tirx.BufferLoad(self._x.buffer, [self._lanes(at + v * self.lanes)])
            statements.append(tirx.Bind(Var(f"x_{v}", load.ty), load))
        return statements

    def _add_products(
        self, sums: dict[tuple[int, int], Var], xs: list[Var], first: Expr, row: Expr
    ) -> list[tirx.Stmt]:
        """Multiply the current summed element of each row with X's vectors."""
        statements: list[tirx.Stmt] = []
        start = named("y_at", self._y.at(first, row), statements, self._analyzer)
        whole = [self._lanes(_int(0))]
        y: Var | None = None
        for (r, v), cell in sums.items():
            if v == 0:
                scalar = tirx.BufferLoad(self._y.buffer, [start + r * self._y.row_step])
                y = Var(f"y_{r}", xs[0].ty)
                statements.append(tirx.Bind(y, self._wide(scalar)))
            total = tirx.BufferLoad(cell, whole)
            total = add_dot_pairs(total, y, xs[v]) if self._pairs else total + y * xs[v]
            statements.append(tirx.BufferStore(cell, total, whole))
        return statements

    def _leave(self, sums: dict[tuple[int, int], Var], place: Place, number: Expr) -> tirx.Stmt:
        """Store the sums of the first pass, add those of the others."""

        def stores(add: bool) -> tirx.Stmt:
            statements: list[tirx.Stmt] = []
            for (r, v), cell in sums.items():
                offset = _int((r * place.vectors + v) * self.lanes)
                at = [self._lanes(place.sums + offset)]
                value = tirx.BufferLoad(cell, [self._lanes(_int(0))])
                if add:
                    value = tirx.BufferLoad(self.buffer, at) + value
                statements.append(tirx.BufferStore(self.buffer, value, at))
            return sequence(statements)

        if constant_value(self._analyzer.simplify(self._passes.count)) == 1:
            return stores(False)
        return tirx.IfThenElse(number == 0, stores(False), stores(True))
