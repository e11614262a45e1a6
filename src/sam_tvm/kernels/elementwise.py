"""Element-wise stages: one vector loop along the output's memory, squares where it transposes."""

from __future__ import annotations

from dataclasses import replace

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.conditions import at, choose, in_pieces
from sam_tvm.kernels.expressions import constant_value, dtype_of, integer, is_guarded, substitute
from sam_tvm.kernels.interleave import Turns, find_runs, find_turns, interleaved_loop
from sam_tvm.kernels.layout import FlatStage, constant_stride
from sam_tvm.kernels.loops import nest, parallel, sequence, vector_loop
from sam_tvm.kernels.positions import whole_positions
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.tasks import TASKS, is_small, known_product, split_tasks
from sam_tvm.kernels.transposition import Transposition, find_across

_SHORT = 8  # steps of an innermost axis that is unrolled into vectors of its neighbour


def elementwise_loops(stage: FlatStage, lanes: int, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return the loops of a stage: the outer ones parallel, the innermost vectorised."""
    if not stage.spatial:
        return store(stage, {})
    stage = at(whole_positions(stage), {}, analyzer)
    *outer, inner = stage.spatial
    across = find_across(stage, tuple(outer), inner, lanes)
    if across is not None:
        return _transposing_loops(stage, across, lanes, analyzer)
    if _takes_turns(stage):
        last = stage.spatial[-1]
        stage = replace(stage, spatial=stage.spatial[:-1])
        stage, tasks = split_tasks(stage, False, analyzer)
        *serial, axis = stage.spatial[len(tasks) :]
        turns = [
            at(stage, {last.var: integer(i, last.var)}, analyzer)
            for i in range(constant_value(last.extent))
        ]
        body = interleaved_loop(Turns(axis, tuple(turns), analyzer), lanes)
        return parallel(tasks, nest(serial, body))
    stage, tasks = split_tasks(stage, False, analyzer)
    body = elementwise_nest(stage, stage.spatial[len(tasks) :], lanes, analyzer)
    return parallel(tasks, body)


def elementwise_nest(
    stage: FlatStage, axes: tuple[Axis, ...], lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Return serial loops over `axes` with the last one vectorised."""
    if not axes:
        return store(stage, {})
    *outer, inner = axes
    across = find_across(stage, tuple(outer), inner, lanes)
    if across is None:
        return nest(outer, _row(stage, inner, lanes, analyzer))
    body = _squares(stage, across, inner, lanes, analyzer)
    return nest([axis for axis in outer if axis is not across], body)


def store(stage: FlatStage, point: dict[Var, Expr]) -> tirx.Stmt:
    """Return the stores of one point."""
    index = substitute(stage.index, point)
    return sequence(
        [
            tirx.BufferStore(buffer, substitute(value, point), [index])
            for buffer, value in zip(stage.buffers, stage.values, strict=True)
        ]
    )


def _takes_turns(stage: FlatStage) -> bool:
    """Whether a few outputs lie side by side, and then those of the next step of another axis."""
    if len(stage.spatial) < 2:
        return False
    axis, last = stage.spatial[-2:]
    count = constant_value(last.extent)
    return (
        count is not None
        and count <= _SHORT
        and constant_stride(stage.index, last) == 1
        and constant_stride(stage.index, axis) == count
    )


def _row(stage: FlatStage, inner: Axis, lanes: int, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return the loop over the innermost axis, in pieces between which conditions change."""

    def piece(stage: FlatStage, axis: Axis) -> tirx.Stmt:
        def vectors(stage: FlatStage) -> tirx.Stmt:
            turns = find_turns(stage, axis, analyzer)
            if turns is not None:
                return interleaved_loop(turns, lanes)
            runs = find_runs(stage, axis, analyzer)
            if runs is not None:
                outer, inside, divided = runs
                return nest([outer], _row(divided, inside, lanes, analyzer))
            return vector_loop(axis.extent, lanes, lambda i: store(stage, {axis.var: i}), analyzer)

        return choose(stage, [axis.var], analyzer, vectors)

    return in_pieces(stage, inner, analyzer, piece)


def _transposing_loops(
    stage: FlatStage, across: Axis, lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Return parallel loops over the other axes, or over blocks too if those are few."""
    inner = stage.spatial[-1]
    outer = [axis for axis in stage.spatial if axis is not across and axis is not inner]
    if is_small(stage):
        return nest(outer, _squares(stage, across, inner, lanes, analyzer))
    count = known_product(tuple(outer))
    guarded = any(is_guarded(value) for value in stage.values)
    symbolic = constant_value(across.extent) is None or constant_value(inner.extent) is None
    if guarded or symbolic or count is None or count >= TASKS:
        return parallel(outer, _squares(stage, across, inner, lanes, analyzer))
    transposition = Transposition(stage, across, inner, lanes, analyzer)
    first, second = transposition.blocks()
    return parallel([*outer, first, second], transposition.block(first.var, second.var))


def _squares(
    stage: FlatStage, across: Axis, inner: Axis, lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Return serial loops over two axes, where both are long enough square by square."""

    def square(stage: FlatStage, across: Axis, inner: Axis) -> tirx.Stmt:
        runs = find_runs(stage, inner, analyzer)
        if runs is not None and constant_value(runs[1].extent) >= lanes:
            outer, inside, divided = runs
            return nest([outer], square(divided, across, inside))
        plain = nest([across], _row(stage, inner, lanes, analyzer))
        # Squares are read whole: what a condition still guards may lie outside its buffer.
        guarded = any(is_guarded(value) for value in stage.values)
        if guarded or find_across(stage, (across,), inner, lanes) is None:
            return plain
        transposition = Transposition(stage, across, inner, lanes, analyzer)
        first, second = transposition.blocks()
        squares = nest([first, second], transposition.block(first.var, second.var))
        enough = [
            axis.extent >= lanes for axis in (across, inner) if constant_value(axis.extent) is None
        ]
        if not enough:
            return squares
        condition = enough[0] if len(enough) == 1 else tirx.And(*enough)
        return tirx.IfThenElse(condition, squares, plain)

    def columns(stage: FlatStage, across: Axis) -> tirx.Stmt:
        def piece(stage: FlatStage, inner: Axis) -> tirx.Stmt:
            variables = [across.var, inner.var]
            return choose(stage, variables, analyzer, lambda s: square(s, across, inner))

        return in_pieces(stage, inner, analyzer, piece)

    return in_pieces(stage, across, analyzer, columns)


def value_lanes(stage: FlatStage, lanes: int) -> int:
    """Return lanes for the widest type that is stored."""
    widest = max(tirx.const(0, dtype_of(v)).ty.dtype.itemsize for v in stage.values)
    return max(1, lanes * 4 // max(widest, 4))
