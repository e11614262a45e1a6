"""Inlining: element-wise stages move into what reads them, so that no buffer is left between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tvm import tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    is_guarded,
    is_heavy,
    linear_form,
    loads,
    map_loads,
    size,
    substitute,
    variables,
)
from sam_tvm.kernels.program import Program, Stage, is_contraction

_LARGEST_EXPRESSION = 500  # nodes; beyond it the compiler's time grows faster than the gain
_CHEAP = 12  # nodes; worth computing again in a second reader


def inline_stages(program: Program) -> None:
    """Inline every stage that is no heavier to compute again than to load."""
    program.stages = [_simplified(program, stage) for stage in program.stages]
    index = len(program.stages) - 1
    while index >= 0:
        stage = program.stages[index]
        if _can_inline(program, stage):
            _inline(program, stage)
        index -= 1


def _simplified(program: Program, stage: Stage) -> Stage:
    """Return the stage with short indices: a reshape's are long until sizes are put to use."""

    def load(old: TensorLoad) -> Expr:
        return tirx.BufferLoad(old.source, [program.analyzer.simplify(i) for i in old.indices])

    return _edit_values(stage, load)


def _edit_values(stage: Stage, edit: Callable[[TensorLoad], Expr]) -> Stage:
    """Return the stage with the loads in its values replaced."""
    stage = replace(stage, values=tuple(map_loads(value, edit) for value in stage.values))
    if stage.reduction is None:
        return stage
    terms = tuple(map_loads(term, edit) for term in stage.reduction.terms)
    return replace(stage, reduction=replace(stage.reduction, terms=terms))


def _can_inline(program: Program, stage: Stage) -> bool:
    if not stage.is_injective or len(stage.buffers) != 1 or stage.buffers[0] not in program.locals:
        return False
    if not _is_identity(stage):
        return False
    (buffer,), (value,) = stage.buffers, stage.values
    readers = program.consumers(buffer)
    if not readers:
        return False
    heavy = is_heavy(value)
    moves_only = isinstance(value, TensorLoad)
    nodes = size(value)
    if len(readers) > 1 and (heavy or nodes > _CHEAP):
        return False
    for reader in readers:
        own = [load for load in reader.reads() if load.source.same_as(buffer)]
        if nodes * len(own) > _LARGEST_EXPRESSION:
            return False
        total = sum(size(v) for v in reader.values)
        if total + nodes * len(own) > _LARGEST_EXPRESSION:
            return False
        if is_contraction(reader) and not (
            moves_only and all(_stays_linear(program, stage, reader, load) for load in own)
        ):
            return False
        if heavy and not all(_covers(reader, load) for load in own):
            return False
    return True


def _is_identity(stage: Stage) -> bool:
    """Every axis indexes one dimension, in any order, so that indices can be solved for axes."""
    seen = [axis.var for axis in stage.axes]
    if len(stage.indices) != len(seen):
        return False
    return set(seen) == {i for i in stage.indices if isinstance(i, Var)}


def _covers(reader: Stage, load: TensorLoad) -> bool:
    """Whether each element is read once: every axis of the reader occurs in the indices."""
    used: set[Var] = set()
    for i in load.indices:
        used |= variables(i)
    # An axis of one step repeats nothing.
    return all(a.var in used or constant_value(a.extent) == 1 for a in reader.axes)


def _stays_linear(program: Program, stage: Stage, reader: Stage, load: TensorLoad) -> bool:
    """Whether the indices of what is loaded stay linear in the reader's axes."""
    value = stage.values[0]
    if is_guarded(value):
        return False
    mapping = _solve(stage, load)
    axes = [axis.var for axis in reader.axes]
    return all(
        linear_form(program.analyzer.simplify(substitute(i, mapping)), axes) is not None
        for inner in loads(value)
        for i in inner.indices
    )


def _solve(stage: Stage, load: TensorLoad) -> dict[Var, Expr]:
    return dict(zip(stage.indices, load.indices, strict=True))


def _inline(program: Program, stage: Stage) -> None:
    (buffer,), (value,) = stage.buffers, stage.values

    def replace_load(load: TensorLoad) -> Expr:
        if not load.source.same_as(buffer):
            return load
        return substitute(value, _solve(stage, load))

    def rewrite(reader: Stage) -> Stage:
        if not any(load.source.same_as(buffer) for load in reader.reads()):
            return reader
        return _simplified(program, _edit_values(reader, replace_load))

    program.stages = [rewrite(s) for s in program.stages if s is not stage]
    program.locals = [b for b in program.locals if not b.same_as(buffer)]
