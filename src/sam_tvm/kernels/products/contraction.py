"""Contractions: what makes a stage a matrix product or a convolution, and how it will be tiled.

Both are `out[.., m, .., n] += Y[m, k..] * X[k.., n]`: `n` is the axis along which the output lies
in memory and runs over vector lanes, `m` one that only the other operand has and runs over rows of
a register tile. A convolution only differs in that X has more axes (rows of the picture) than n.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    dtype_of,
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
from sam_tvm.kernels.neighbours import Neighbour, reach_of
from sam_tvm.kernels.products.panel_form import (
    PanelForm,
    find_panels,
    last_of_pair_is_missing,
    panel_index,
)
from sam_tvm.kernels.program import Axis, Program, Stage, contraction_operands, is_own_index

_ENOUGH_ROWS = 16
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
        panels: how X lies in memory if it was packed ahead; the index of `x` is then that of a
            matrix whose rows are as long as all panels together.
        pairs: whether both operands are multiplied as pairs of bfloat16; an index is then that of
            a pair's even element, unless X was packed ahead.
        odd: whether the last pair of Y's elements has one element only.
        neighbour: stands in `value` for another sum of the panel, None if it reads none.

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
    panels: PanelForm | None
    pairs: bool
    odd: bool
    neighbour: Neighbour | None

    @property
    def is_convolution(self) -> bool:
        """Whether an operand is a picture: X has axes beside the lanes, or sums have several."""
        return bool(self.columns) or (self.panels is not None and len(self.reduced) > 1)


@dataclass(frozen=True)
class _Sums:
    """What stands for a point's sum and for its neighbour's, if that is read."""

    own: Var
    neighbour: Neighbour | None


def find_epilogue(program: Program, stage: Stage) -> Stage | None:
    """Return the element-wise stage that alone reads a contraction's result, point by point.

    Of a product with panels it may read each sum's neighbour, too (`neighbours.py`).
    """
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
    reach = reach_of(reader, result, program.analyzer)
    if reach is None or (reach and not _has_neighbours(program, stage, reach)):
        return None
    return reader if _is_point(stage.indices, stage.spatial) else None


def _is_point(indices: tuple[Expr, ...] | list[Expr], axes: tuple[Axis, ...]) -> bool:
    """Tell whether the indices are the axes' own variables, or 0 for an axis of one step."""
    return len(indices) == len(axes) and all(map(is_own_index, indices, axes))


def _has_neighbours(program: Program, stage: Stage, reach: int) -> bool:
    """Tell whether the panels of a product hold whole pairs of so many columns each."""
    operands = contraction_operands(stage)
    panels = operands and find_panels(stage, operands, program.analyzer)
    columns = constant_value(stage.spatial[-1].extent)
    if panels is None or columns is None:
        return False
    return columns % (2 * reach) == 0 and panels.width % (2 * reach) == 0


def classify(
    program: Program,
    stage: Stage,
    epilogue: Stage | None,
    flat: FlatBuffers,
    keeps_terms: bool = False,
) -> Contraction | None:
    """Return the contraction that `stage` (and the epilogue) computes, None if it is not one.

    With `keeps_terms` the summed axes of a product with panels stay apart.
    """
    operands = contraction_operands(stage)
    if operands is None:
        return None
    sums = _sums(program, stage, epilogue)
    panels = find_panels(stage, operands, program.analyzer)
    if panels is not None:
        fused = _fuse(program, stage, epilogue, flat, sums, operands, panels, keeps_terms)
        contraction = _classify_fused(fused, sums, panels)
        if contraction is not None:
            return contraction
    if any(dtype_of(operand) != "float32" for operand in operands):
        return None
    pairs = len(operands) == 4
    if pairs:
        operands = _even_loads(operands, program.analyzer)
    if operands is None or len(operands) != 2:
        return None
    fused = _fuse(program, stage, epilogue, flat, sums, operands, None, pairs)
    return _classify_fused(fused, sums, None, pairs)


def _even_loads(
    operands: tuple[TensorLoad, ...], analyzer: sym.Analyzer
) -> tuple[TensorLoad, TensorLoad] | None:
    """Return the first loads of two whole pairs, None if they are anything else."""
    (even, odd), (other, next_) = operands[:2], operands[2:]
    missing = [last_of_pair_is_missing(*pair, analyzer) for pair in ((even, odd), (other, next_))]
    return (even, other) if missing == [False, False] else None


def _sums(program: Program, stage: Stage, epilogue: Stage | None) -> _Sums:
    """Return what stands for the sums that an epilogue reads."""
    kind = stage.values[0].ty
    reach = epilogue and reach_of(epilogue, stage.buffers[0], program.analyzer)
    beside = Neighbour(Var("neighbour", kind), reach) if reach else None
    return _Sums(Var("accumulated", kind), beside)


def _classify_fused(
    fused: FlatStage, sums: _Sums, panels: PanelForm | None, pairs: bool = False
) -> Contraction | None:
    """Return the contraction of a stage as `_fuse` makes it; the panels are its second operand.

    With `pairs` its operands are made of pairs that lie nowhere yet.
    """
    a, b, value = fused.values
    if _work(fused.reduced) < _LEAST_WORK or not fused.spatial:
        return None
    lane = fused.spatial[-1]
    if constant_stride(fused.index, lane) != 1:
        return None
    used_a, used_b = _axes_of(a, fused), _axes_of(b, fused)
    if used_a is None or used_b is None or (lane.var in used_a) == (lane.var in used_b):
        return None
    (x, used_x), (y, used_y) = (a, used_a), (b, used_b)
    if lane.var in used_b:
        (x, used_x), (y, used_y) = (y, used_y), (x, used_x)
    if not all(axis.var in used_x and axis.var in used_y for axis in fused.reduced):
        return None
    rows = [s for s in fused.spatial if s.var in used_y and s.var not in used_x]
    if panels is not None and (x is not b or len(used_x) != 1 + len(fused.reduced)):
        return None
    pairs = pairs or (panels is not None and panels.pairs)
    if pairs and constant_stride(y.indices[0], fused.reduced[-1]) != 2:
        return None
    if panels is None and _is_dot_product(x, lane, rows, fused.reduced):
        return None
    row = _choose_row(rows)
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
        sums.own,
        value,
        fused.buffers[0],
        fused.index,
        panels,
        pairs,
        panels is not None and panels.odd,
        sums.neighbour,
    )


def _fuse(
    program: Program,
    stage: Stage,
    epilogue: Stage | None,
    flat: FlatBuffers,
    sums: _Sums,
    operands: tuple[TensorLoad, ...],
    panels: PanelForm | None,
    keeps_terms: bool = False,
) -> FlatStage:
    """Return one flat stage whose values are both operands and what is stored, axes merged.

    Panels come second. Of a pair's loads only the even one matters.
    """
    if panels is None:
        first, second = (flat.load(operand) for operand in operands)
    else:
        packed, other = operands[panels.position], operands[0 if panels.position else 1]
        index = panel_index(packed)
        first, second = flat.load(other), tirx.BufferLoad(flat.view(packed.source), [index])
    own = flatten(program, stage, flat) if epilogue is None else None
    if own is not None:
        buffers, index, value = own.buffers, own.index, sums.own
    else:
        mapping = {e.var: s.var for e, s in zip(epilogue.axes, stage.spatial, strict=True)}

        def read(load: TensorLoad) -> Expr:
            if not load.source.same_as(stage.buffers[0]):
                return flat.load(load)
            return sums.own if _is_point(load.indices, stage.spatial) else sums.neighbour.var

        value = map_loads(substitute(epilogue.values[0], mapping), read)
        indices = [substitute(i, mapping) for i in epilogue.indices]
        buffers = (flat.view(epilogue.buffers[0]),)
        index = flat.index(epilogue.buffers[0], indices)
    fused = FlatStage(stage.spatial, stage.reduced, buffers, index, (first, second, value))
    fused = drop_unit_axes(fused, program.analyzer)
    # A pixel's channels stay apart from its neighbour's: each becomes pairs on its own.
    apart = keeps_terms if panels is None else panels.pairs or keeps_terms
    return merge_axes(fused, program.analyzer, merge_reduced=not apart)


def _work(axes: tuple[Axis, ...]) -> int:
    total = 1
    for axis in axes:
        total *= _extent(axis)
    return total


def _extent(axis: Axis) -> int:
    """Return the extent; a symbolic one counts as large."""
    return constant_value(axis.extent) or 1 << 20


def _choose_row(candidates: list[Axis]) -> Axis | None:
    """Return the innermost axis that fills several register tiles, else the longest one.

    Neighbouring pixels of a picture share most of what a convolution reads.
    """
    long = [axis for axis in candidates if _extent(axis) >= _ENOUGH_ROWS]
    return long[-1] if long else max(candidates, key=_extent, default=None)


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
