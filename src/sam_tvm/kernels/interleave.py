"""Outputs that take turns along memory: pairs of real and imaginary parts, sines and cosines.

Where what is stored at position j depends on j % m and j // m, the m values at m * q + r are
computed for `lanes` neighbouring q each, as vectors, and shuffled into the order of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.conditions import at
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    dtype_of,
    integer,
    is_guarded,
    map_loads,
    substitute,
    variables,
)
from sam_tvm.kernels.layout import FlatStage, constant_stride
from sam_tvm.kernels.loops import loop, sequence, vector
from sam_tvm.kernels.program import Axis, bind_axes

_LARGEST_PERIOD = 8


@dataclass(frozen=True)
class Turns:
    """The stage for each remainder, over an axis of quotients.

    Attributes:
        axis: of the quotients.
        stages: one for each remainder.
        analyzer: knows the ranges of all axes.

    """

    axis: Axis
    stages: tuple[FlatStage, ...]
    analyzer: sym.Analyzer


def find_turns(stage: FlatStage, axis: Axis, analyzer: sym.Analyzer) -> Turns | None:
    """Return the stage taken apart by remainders of the axis, None if it has no period."""
    for period in _divisors(stage, axis, analyzer):
        if period > _LARGEST_PERIOD:
            continue
        turns = _take_apart(stage, axis, period, analyzer)
        if turns is not None:
            return turns
    return None


def find_runs(
    stage: FlatStage, axis: Axis, analyzer: sym.Analyzer
) -> tuple[Axis, Axis, FlatStage] | None:
    """Return the stage over runs along which a quotient of the axis stays the same.

    Returns:
        An axis over the runs, one inside a run, and the stage; None where there are no runs.

    """
    for length in _divisors(stage, axis, analyzer):
        count = analyzer.simplify(divide(axis.extent, integer(length, axis.extent)))
        runs = Axis(Var(f"{axis.var.name}_run", axis.var.ty), count, False)
        inside = Axis(Var(axis.var.name, axis.var.ty), integer(length, axis.extent), False)
        bind_axes(analyzer, [runs, inside])
        divided = at(stage, {axis.var: runs.var * length + inside.var}, analyzer)
        if constant_value(count) != 1 and not _is_divided(divided, inside):
            return runs, inside, divided
    return None


def _divisors(stage: FlatStage, axis: Axis, analyzer: sym.Analyzer) -> list[int]:
    """Return what positions on the axis are divided by without a rest, the largest first."""
    found: set[int] = set()

    def visit(division: Expr) -> None:
        by = constant_value(division.b)
        if by is None or by < 2 or axis.var not in variables(division.a):
            return
        if _is_multiple(axis.extent, by, analyzer):
            found.add(by)

    for expr in (stage.index, *stage.values):
        tvm_ffi.structural_walk(expr, ((tirx.FloorDiv, tirx.FloorMod), visit))
    return sorted(found, reverse=True)


def _is_multiple(extent: Expr, of: int, analyzer: sym.Analyzer) -> bool:
    if isinstance(extent, tirx.Min):  # of the rest and a full chunk
        return all(_is_multiple(part, of, analyzer) for part in (extent.a, extent.b))
    return constant_value(analyzer.simplify(tirx.floormod(extent, of))) == 0


def _take_apart(stage: FlatStage, axis: Axis, period: int, analyzer: sym.Analyzer) -> Turns | None:
    quotients = Axis(
        Var(axis.var.name, axis.var.ty),
        analyzer.simplify(divide(axis.extent, integer(period, axis.extent))),
        False,
    )
    bind_axes(analyzer, [quotients])
    stages = []
    for remainder in range(period):
        turn = at(stage, {axis.var: quotients.var * period + remainder}, analyzer)
        if _is_divided(turn, quotients) or constant_stride(turn.index, quotients) != period:
            return None
        stages.append(turn)
    first = stages[0].index
    if any(
        constant_value(analyzer.simplify(turn.index - first)) != i for i, turn in enumerate(stages)
    ):
        return None
    return Turns(quotients, tuple(stages), analyzer)


def _is_divided(stage: FlatStage, axis: Axis) -> bool:
    found = False

    def visit(division: Expr) -> None:
        nonlocal found
        found = found or axis.var in variables(division)

    for expr in (stage.index, *stage.values):
        tvm_ffi.structural_walk(expr, ((tirx.FloorDiv, tirx.FloorMod), visit))
    return found


def interleaved_loop(turns: Turns, lanes: int) -> tirx.Stmt:
    """Return the loop over the quotients, `lanes` at a time, the rest one by one."""
    extent, analyzer = turns.axis.extent, turns.analyzer
    known = constant_value(extent)
    while known is not None and lanes > max(known, 1):
        lanes //= 2
    if lanes == 1:
        return loop(extent, lambda i: _one(turns, i), "rest")
    whole = analyzer.simplify(divide(extent, integer(lanes, extent)))
    rest = analyzer.simplify(extent - whole * lanes)
    statements = []
    if constant_value(whole) != 0:
        statements.append(loop(whole, lambda b: _block(turns, b * lanes, lanes), "block"))
    if constant_value(rest) != 0:
        statements.append(loop(rest, lambda i: _one(turns, whole * lanes + i), "rest"))
    return sequence(statements)


def _one(turns: Turns, quotient: Expr) -> tirx.Stmt:
    point = {turns.axis.var: quotient}
    return sequence(
        [
            tirx.BufferStore(buffer, substitute(value, point), [substitute(turn.index, point)])
            for turn in turns.stages
            for buffer, value in zip(turn.buffers, turn.values, strict=True)
        ]
    )


def _block(turns: Turns, start: Expr, lanes: int) -> tirx.Stmt:
    """Compute and store the values of `lanes` quotients from `start` on."""
    first, period = turns.stages[0], len(turns.stages)
    lane = Var("lane", start.ty)
    groups = _Groups(turns, start, lane, lanes)
    values = [[groups.replace(value) for value in turn.values] for turn in turns.stages]
    statements = groups.statements
    for position, buffer in enumerate(first.buffers):
        parts = []
        for value in (of_turn[position] for of_turn in values):
            register = tirx.decl_buffer((lanes,), dtype_of(value), "turn")
            store = tirx.BufferStore(register, value, [lane])
            body = vector(lanes, start, lambda i, store=store: substitute(store, {lane: i}))
            statements += [tirx.AllocBuffer(register), body]
            parts.append(_vector(register, integer(0, start), lanes))
        index = substitute(first.index, {turns.axis.var: start})
        for part in range(period):
            order = range(part * lanes, (part + 1) * lanes)
            shuffled = _shuffle(parts, [i % period * lanes + i // period for i in order])
            at_part = _ramp(index + part * lanes, lanes)
            statements.append(tirx.BufferStore(buffer, shuffled, [at_part]))
    return sequence(statements)


class _Groups:
    """Loads that take turns too: neighbours are read as whole vectors and sorted in registers."""

    def __init__(self, turns: Turns, start: Expr, lane: Var, lanes: int) -> None:
        self.statements: list[tirx.Stmt] = []
        self._axis, self._period = turns.axis, len(turns.stages)
        self._start, self._lane, self._lanes = start, lane, lanes
        self._analyzer = turns.analyzer
        self._read: list[tuple[Var, Expr, list[Var]]] = []

    def replace(self, value: Expr) -> Expr:
        """Return the value at the lane, with loads that take turns read from registers."""
        if not is_guarded(value):  # else whole groups might lie outside their buffer
            value = map_loads(value, self._load)
        return substitute(value, {self._axis.var: self._start + self._lane})

    def _load(self, load: TensorLoad) -> Expr:
        (index,), period = load.indices, self._period
        size = constant_value(load.source.shape[0])
        if constant_stride(index, self._axis) != period or size is None or size % period:
            return load
        # Groups lie where the buffer's first one does, so that none reaches beyond its end.
        base = substitute(index, {self._axis.var: integer(0, self._start)})
        turn = constant_value(self._analyzer.simplify(tirx.floormod(base, period)))
        if turn is None:
            return load
        registers = self._registers(load.source, self._analyzer.simplify(base - turn))
        return tirx.BufferLoad(registers[turn], [self._lane])

    def _registers(self, source: Var, base: Expr) -> list[Var]:
        for other, place, registers in self._read:
            if other.same_as(source) and self._analyzer.can_prove_equal(place, base):
                return registers
        begin = base + self._start * self._period
        lanes, period = self._lanes, self._period
        parts = [_vector(source, begin + part * lanes, lanes) for part in range(period)]
        registers = []
        for turn in range(period):
            register = tirx.decl_buffer((lanes,), source.dtype, "sorted")
            shuffled = _shuffle(parts, [turn + period * i for i in range(lanes)])
            zero = _ramp(integer(0, self._start), lanes)
            self.statements.append(tirx.AllocBuffer(register))
            self.statements.append(tirx.BufferStore(register, shuffled, [zero]))
            registers.append(register)
        self._read.append((source, base, registers))
        return registers


def _vector(buffer: Var, start: Expr, lanes: int) -> Expr:
    return tirx.BufferLoad(buffer, [_ramp(start, lanes)])


def _ramp(start: Expr, lanes: int) -> Expr:
    return tirx.Ramp(start, integer(1, start), lanes)


def _shuffle(vectors: list[Expr], pattern: list[int]) -> Expr:
    return tirx.Shuffle(vectors, [tirx.IntImm("int32", i) for i in pattern])
