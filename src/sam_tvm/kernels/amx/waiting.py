"""Sums of a pass that wait until they are added: beside the next pass, not between the two."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx import instructions as tiles
from sam_tvm.kernels.amx.instructions import BLOCK, PANEL, TILE
from sam_tvm.kernels.amx.parts import Product
from sam_tvm.kernels.expressions import constant_value, integer
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop

_SIZE = BLOCK * PANEL  # elements of a block of sums, which lie side by side

_Multiplied = tuple[tuple[Var, Expr, Expr, Expr], tuple[Var, Expr, Expr], Expr]


def _int(value: int) -> Expr:
    return integer(value, "int64")


class WaitingSums:
    """The block of sums that the last pass left, and where it belongs.

    Passes leave theirs by turns in two places. Where a pass wrote the sums themselves, since it is
    their first, what is added next goes to a block that nobody reads.
    """

    def __init__(self, steps: int, products: Sequence[Sequence[Product]]) -> None:
        added = tiles.added_by(steps) * len(products)
        if added > _SIZE:
            raise ValueError(f"{steps} steps of a pass would add {added} sums, not {_SIZE}")

    def allocate(self, size: Expr) -> tuple[Var, list[tirx.Stmt]]:
        """Return a buffer for so many sums, and what allocates it."""
        self._sums, statements = scratch(size + _SIZE, "float32", "sums")
        self._left, more = scratch(_int(2 * _SIZE), "float32", "pass_sums")
        self._nowhere = size
        self._place = tirx.decl_buffer((1,), "int64", "waiting_place")
        self._turn = tirx.decl_buffer((1,), "int64", "waiting_turn")
        declared = [tirx.AllocBuffer(self._place), tirx.AllocBuffer(self._turn)]
        begin = [self._set(self._place, size), self._set(self._turn, _int(0))]
        return self._sums, [*statements, *more, *declared, *begin]

    def multiply(
        self, shape: tuple[int, int], products: Sequence[Sequence[Product]], operands: _Multiplied
    ) -> list[tirx.Stmt]:
        """Return what multiplies (see `instructions.multiply`), and adds what waits meanwhile."""
        y, x, steps = operands
        statements: list[tirx.Stmt] = []
        done: Expr = _int(0)
        for listed in products:
            to = (self._sums, self._get(self._place) + done)
            source = (self._left, self._get(self._turn) + done)
            statements.append(tiles.multiply_adding(shape, listed, y, x, steps, to, source))
            done = done + tiles.added_by(steps)
        return [*statements, *self._add_from(done)]

    def leave(self, shape: tuple[int, int], is_first: Expr, at: Expr) -> tirx.Stmt:
        """Return what stores a pass's sums: in their place, if it is the first; else they wait."""
        other = _int(_SIZE) - self._get(self._turn)
        write = [tiles.store(*shape, self._sums, at, PANEL), self._set(self._place, self._nowhere)]
        wait = [
            self._set(self._turn, other),
            tiles.store(*shape, self._left, self._get(self._turn), PANEL),
            self._set(self._place, at),
        ]
        return tirx.IfThenElse(is_first, tirx.SeqStmt(write), tirx.SeqStmt(wait))

    def flush(self) -> tirx.Stmt:
        """Return what adds what waits, at the end."""
        done = [*self._add_from(_int(0)), self._set(self._place, self._nowhere)]
        return tirx.SeqStmt(done)

    def _add_from(self, begin: Expr) -> list[tirx.Stmt]:
        """Return what adds what is not added yet."""
        known = constant_value(begin)
        if known is not None and known >= _SIZE:
            return []

        def vector(v: Expr) -> tirx.Stmt:
            at = begin + v * TILE
            to = [tirx.Ramp(self._get(self._place) + at, _int(1), TILE)]
            more = tirx.BufferLoad(
                self._left, [tirx.Ramp(self._get(self._turn) + at, _int(1), TILE)]
            )
            return tirx.BufferStore(self._sums, tirx.BufferLoad(self._sums, to) + more, to)

        count = tirx.truncdiv(_int(_SIZE) - begin, _int(TILE))
        return [loop(count, vector, "vector")]

    def _get(self, cell: Var) -> Expr:
        return tirx.BufferLoad(cell, [_int(0)])

    def _set(self, cell: Var, value: Expr) -> tirx.Stmt:
        return tirx.BufferStore(cell, value, [_int(0)])
