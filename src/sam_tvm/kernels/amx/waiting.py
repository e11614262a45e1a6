"""Sums of a pass that wait until they are added: beside the next pass, not between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx import instructions as tiles
from sam_tvm.kernels.amx.combining import SIZE, arguments, combine, vectors_beside
from sam_tvm.kernels.amx.digit_operands import DigitPanels, DigitRows
from sam_tvm.kernels.amx.digits import LEVELS
from sam_tvm.kernels.amx.instructions import BLOCK, PANEL, TILE
from sam_tvm.kernels.amx.multiplication import (
    Operands,
    added_by,
    multiply_adding,
    multiply_combining,
)
from sam_tvm.kernels.amx.parts import Product
from sam_tvm.kernels.expressions import constant_value, integer
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop


def _int(value: int) -> Expr:
    return integer(value, "int64")


class _Cell:
    """A number that a task keeps between passes."""

    def __init__(self, name: str, dtype: str = "int64") -> None:
        self._buffer, self._dtype = tirx.decl_buffer((1,), dtype, name), dtype

    def declare(self, value: Expr) -> list[tirx.Stmt]:
        """Return what allocates it and sets its first value."""
        return [tirx.AllocBuffer(self._buffer), self.set(value)]

    def get(self) -> Expr:
        """Return what reads it."""
        return tirx.BufferLoad(self._buffer, [_int(0)])

    def set(self, value: Expr) -> tirx.Stmt:
        """Return what changes it."""
        return tirx.BufferStore(self._buffer, value, [_int(0)])


@dataclass(frozen=True)
class Pass:
    """One pass of a strip of rows by a panel.

    Attributes:
        shape: tiles along its rows and columns.
        operands: what is multiplied.
        is_first: whether it is the first of its sums.
        at: where these begin.
        row_scales, scales: where those of digits begin.
    """

    shape: tuple[int, int]
    operands: Operands
    is_first: Expr
    at: Expr
    row_scales: Expr | None = None
    scales: Expr | None = None


class WaitingSums:
    """The block of sums that the last pass left, and where it belongs.

    Passes leave theirs by turns in two places. Where a pass wrote the sums themselves, since it is
    their first, what is added next goes to a block that nobody reads.
    """

    def __init__(self, steps: int, products: Sequence[Sequence[Product]]) -> None:
        added = added_by(steps) * len(products)
        if added > SIZE:
            raise ValueError(f"{steps} steps of a pass would add {added} sums, not {SIZE}")
        self._products = products

    def allocate(self, size: Expr) -> tuple[Var, list[tirx.Stmt]]:
        """Return a buffer for so many sums, and what allocates it."""
        self._sums, statements = scratch(size + SIZE, "float32", "sums")
        self._left, more = scratch(_int(2 * SIZE), "float32", "pass_sums")
        self._nowhere = size
        self._place, self._turn = _Cell("waiting_place"), _Cell("waiting_turn")
        begin = [*self._place.declare(size), *self._turn.declare(_int(0))]
        return self._sums, [*statements, *more, *begin]

    def run(self, one: Pass) -> list[tirx.Stmt]:
        """Return what multiplies for a pass, and adds what waits meanwhile."""
        statements: list[tirx.Stmt] = [tiles.zero(*one.shape)]
        done: Expr = _int(0)
        for listed in self._products:
            to = (self._sums, self._place.get() + done)
            source = (self._left, self._turn.get() + done)
            statements.append(multiply_adding(one.shape, listed, one.operands, to, source))
            done = done + added_by(one.operands.steps)
        return [*statements, *self._add_from(done), self._leave(one)]

    def _leave(self, one: Pass) -> tirx.Stmt:
        """Return what stores a pass's sums: in their place, if it is the first; else they wait."""
        other = _int(SIZE) - self._turn.get()
        write = [
            tiles.store(*one.shape, self._sums, one.at, PANEL),
            self._place.set(self._nowhere),
        ]
        wait = [
            self._turn.set(other),
            tiles.store(*one.shape, self._left, self._turn.get(), PANEL),
            self._place.set(one.at),
        ]
        return tirx.IfThenElse(one.is_first, tirx.SeqStmt(write), tirx.SeqStmt(wait))

    def flush(self) -> tirx.Stmt:
        """Return what adds what waits, at the end."""
        return tirx.SeqStmt([*self._add_from(_int(0)), self._place.set(self._nowhere)])

    def _add_from(self, begin: Expr) -> list[tirx.Stmt]:
        """Return what adds what is not added yet."""
        known = constant_value(begin)
        if known is not None and known >= SIZE:
            return []

        def vector(v: Expr) -> tirx.Stmt:
            at = begin + v * TILE
            to = [tirx.Ramp(self._place.get() + at, _int(1), TILE)]
            more = tirx.BufferLoad(self._left, [tirx.Ramp(self._turn.get() + at, _int(1), TILE)])
            return tirx.BufferStore(self._sums, tirx.BufferLoad(self._sums, to) + more, to)

        count = tirx.truncdiv(_int(SIZE) - begin, _int(TILE))
        return [loop(count, vector, "vector")]


class WaitingDigits:
    """The sums of digits' products that the last pass left, and what makes float32 sums of them.

    As in `WaitingSums`, but each pass leaves its sums to wait, a block for each level.
    """

    def __init__(self, steps: int, y: DigitRows, x: DigitPanels) -> None:
        self._vectors = vectors_beside(steps)
        self._y, self._x = y, x

    def allocate(self, size: Expr) -> tuple[Var, list[tirx.Stmt]]:
        """Return a buffer for so many sums, and what allocates it."""
        self._sums, statements = scratch(size + SIZE, "float32", "sums")
        self._left, more = scratch(_int(2 * len(LEVELS) * SIZE), "int32", "level_sums")
        self._nowhere = size
        names = ("place", "turn", "row_scales", "scales")
        cells = [_Cell(f"waiting_{name}") for name in names]
        self._place, self._turn, self._row_scales_at, self._scales_at = cells
        self._keep = _Cell("waiting_keep", "int32")
        begin = [
            *(s for cell in cells[1:] for s in cell.declare(_int(0))),
            *self._place.declare(size),
            *self._keep.declare(integer(0, "int32")),
        ]
        return self._sums, [*statements, *more, *begin]

    def _waiting(self, vectors: Expr) -> tuple[Expr, ...]:
        return arguments(
            (self._sums, self._place.get()),
            (self._left, self._turn.get()),
            (self._y.scales, self._row_scales_at.get()),
            (self._x.scales, self._scales_at.get()),
            self._keep.get(),
            vectors,
        )

    def run(self, one: Pass) -> list[tirx.Stmt]:
        """Return what multiplies for a pass, and combines what waits meanwhile."""
        other = _int(len(LEVELS) * SIZE) - self._turn.get()
        none, all_bits = integer(0, "int32"), integer(-1, "int32")
        statements: list[tirx.Stmt] = []
        done: Expr = _int(0)
        for level in reversed(range(len(LEVELS))):
            statements += [
                tiles.zero(*one.shape),
                multiply_combining(
                    one.shape, level, one.operands, self._waiting(done), self._vectors[level]
                ),
                tiles.store(*one.shape, self._left, other + level * SIZE, PANEL),
            ]
            done = done + one.operands.steps * self._vectors[level]
        return [
            *statements,
            *self._combine_from(done),
            self._turn.set(other),
            self._place.set(one.at),
            self._row_scales_at.set(one.row_scales),
            self._scales_at.set(one.scales),
            self._keep.set(tirx.Select(one.is_first, none, all_bits)),
        ]

    def flush(self) -> tirx.Stmt:
        """Return what combines what waits, at the end."""
        return tirx.SeqStmt([*self._combine_from(_int(0)), self._place.set(self._nowhere)])

    def _combine_from(self, vectors: Expr) -> list[tirx.Stmt]:
        """Return what combines what is not combined yet."""
        known = constant_value(vectors)
        if known is not None and known * TILE >= SIZE:
            return []
        rows = _int(BLOCK) - tirx.truncdiv(vectors, _int(PANEL // TILE))
        return [combine(self._waiting(vectors), rows)]
