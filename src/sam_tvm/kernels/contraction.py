"""Contractions: what makes a stage a matrix product or a convolution, and how it will be tiled.

Both are `out[.., m, .., n] += Y[m, k..] * X[k.., n]`: `n` is the axis along which the output lies
in memory and runs over vector lanes, `m` one that only the other operand has and runs over rows of
a register tile. A convolution only differs in that X has more axes (rows of the picture) than n.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    linear_form,
    map_loads,
    substitute,
)
from sam_tvm.kernels.layout import (
    FlatBuffers,
    FlatStage,
    constant_stride,
    drop_unit_axes,
    flatten,
    merge_axes,
)
from sam_tvm.kernels.program import Axis, Program, Stage, is_contraction

_LEAST_WORK = 8  # reduced elements below which a plain reduction is as good


@dataclass(frozen=True)
class Contraction:
    """A classified contraction over flat buffers.

    Attributes:
        outer: axes of both operands (batch), and those of Y alone that are not `row`.
        row: the axis of Y alone that register tiles run over, None if Y has none.
        columns: axes of X alone except `lane`.
        lane: the axis vectors run over.
        reduced: the summed axes, outermost first.
        x, y: loads of the operands.
        accumulator: stands for the sum in `value`, which is stored at `index` of `output`.

    """

    outer: tuple[Axis, ...]
    row: Axis | None
    columns: tuple[Axis, ...]
    lane: Axis
    reduced: tuple[Axis, ...]
    x: TensorLoad
    y: TensorLoad
    accumulator: Var
    value: Expr
    output: Var
    index: Expr

    @property
    def is_convolution(self) -> bool:
        """Whether X is a picture: it has further axes beside the lanes."""
        return bool(self.columns)


def find_epilogue(program: Program, stage: Stage) -> Stage | None:
    """Return the element-wise stage that alone reads a contraction's result, point by point."""
    (result,) = stage.buffers
    readers = program.consumers(result)
    if result not in program.locals or len(readers) != 1 or not readers[0].is_injective:
        return None
    reader = readers[0]
    if len(reader.buffers) != 1 or len(reader.axes) != len(stage.spatial):
        return None
    for own, other in zip(stage.spatial, reader.axes, strict=True):
        if not program.analyzer.can_prove_equal(own.extent, other.extent):
            return None
    identity = [axis.var for axis in reader.axes]
    for load in reader.reads():
        if load.source.same_as(result) and not _equal(load.indices, identity):
            return None
    return reader if _equal(stage.indices, [axis.var for axis in stage.spatial]) else None


def _equal(indices: tuple[Expr, ...] | list[Expr], expected: list[Var]) -> bool:
    return len(indices) == len(expected) and all(
        isinstance(i, Var) and i.same_as(var) for i, var in zip(indices, expected, strict=True)
    )


def classify(
    program: Program, stage: Stage, epilogue: Stage | None, flat: FlatBuffers
) -> Contraction | None:
    """Return the contraction that `stage` (and the epilogue) computes, None if it is not one."""
    if not is_contraction(stage):
        return None
    accumulator = Var("accumulated", stage.values[0].ty)
    fused = _fuse(program, stage, epilogue, flat, accumulator)
    fused = merge_axes(drop_unit_axes(fused, program.analyzer), program.analyzer)
    a, b, value = fused.values
    if _work(fused.reduced) < _LEAST_WORK or not fused.spatial:
        return None
    lane = fused.spatial[-1]
    if constant_stride(fused.index, lane) != 1:
        return None
    used_a, used_b = _axes_of(a, fused), _axes_of(b, fused)
    if used_a is None or used_b is None or (lane.var in used_a) == (lane.var in used_b):
        return None
    x, y = (a, b) if lane.var in used_a else (b, a)
    used_x, used_y = (used_a, used_b) if lane.var in used_a else (used_b, used_a)
    if not all(axis.var in used_x and axis.var in used_y for axis in fused.reduced):
        return None
    rows = [s for s in fused.spatial if s.var in used_y and s.var not in used_x]
    row = max(rows, key=_extent, default=None)
    if _is_dot_product(x, lane, rows, fused.reduced):
        return None
    columns = tuple(
        s for s in fused.spatial if s.var in used_x and s.var not in used_y and s is not lane
    )
    outer = tuple(s for s in fused.spatial if s is not row and s is not lane and s not in columns)
    return Contraction(
        outer,
        row,
        columns,
        lane,
        fused.reduced,
        x,
        y,
        accumulator,
        value,
        fused.buffers[0],
        fused.index,
    )


def _fuse(
    program: Program,
    stage: Stage,
    epilogue: Stage | None,
    flat: FlatBuffers,
    accumulator: Var,
) -> FlatStage:
    """Return one flat stage whose values are both operands and what is stored."""
    (term,) = stage.reduction.terms
    own = flatten(program, stage, flat) if epilogue is None else None
    if own is not None:
        buffers, index, value = own.buffers, own.index, accumulator
    else:
        mapping = {e.var: s.var for e, s in zip(epilogue.axes, stage.spatial, strict=True)}

        def read(load: TensorLoad) -> Expr:
            return accumulator if load.source.same_as(stage.buffers[0]) else flat.load(load)

        value = map_loads(substitute(epilogue.values[0], mapping), read)
        indices = [substitute(i, mapping) for i in epilogue.indices]
        buffers = (flat.view(epilogue.buffers[0]),)
        index = flat.index(epilogue.buffers[0], indices)
    return FlatStage(
        stage.spatial,
        stage.reduced,
        buffers,
        index,
        (flat.load(term.a), flat.load(term.b), value),
    )


def _work(axes: tuple[Axis, ...]) -> int:
    total = 1
    for axis in axes:
        total *= _extent(axis)
    return total


def _extent(axis: Axis) -> int:
    """Return the extent; a symbolic one counts as large."""
    return constant_value(axis.extent) or 1 << 20


def _axes_of(load: Expr, stage: FlatStage) -> set[Var] | None:
    """Return the axes a load depends on; None if it does so in a way that is not linear."""
    axes = [axis.var for axis in stage.spatial + stage.reduced]
    form = linear_form(load.indices[0], axes)
    if form is None:
        return None
    return {var for var, step in zip(axes, form[0], strict=True) if constant_value(step) != 0}


def _is_dot_product(x: TensorLoad, lane: Axis, rows: list[Axis], reduced: tuple[Axis, ...]) -> bool:
    """Whether X is read once or twice, along the sum: packing it would cost more than it saves."""
    if _work(tuple(rows)) > 2 or constant_stride(x.indices[0], lane) == 1:
        return False
    return any(constant_stride(x.indices[0], axis) == 1 for axis in reduced)
