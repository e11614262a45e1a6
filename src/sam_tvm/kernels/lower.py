"""From a parsed program to a scheduled PrimFunc: inline, group, emit each group's loops."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import sym, tirx
from tvm.ir import Var
from tvm.s_tir.stmt import SBlock, SBlockRealize

from sam_tvm.kernels import amx
from sam_tvm.kernels.bfloat16 import expand_dots
from sam_tvm.kernels.divisions import shield_falling
from sam_tvm.kernels.elementwise import elementwise_loops, elementwise_nest, value_lanes
from sam_tvm.kernels.expressions import substitute
from sam_tvm.kernels.fastmath import expand_calls
from sam_tvm.kernels.grouping import group_stages
from sam_tvm.kernels.inline import inline_stages
from sam_tvm.kernels.layout import FlatBuffers, FlatStage, drop_unit_axes, flatten, merge_axes
from sam_tvm.kernels.loops import parallel, sequence
from sam_tvm.kernels.products.contraction import Contraction, classify, find_epilogue
from sam_tvm.kernels.products.tiles import emit_contraction
from sam_tvm.kernels.products.tiling import choose_tiling
from sam_tvm.kernels.program import Axis, Program, Stage, is_contraction
from sam_tvm.kernels.reduction import reduces_across_lanes, reduction_nest
from sam_tvm.kernels.short_forms import shortened
from sam_tvm.kernels.short_sums import unroll_short_sums
from sam_tvm.kernels.streaming import stream_results
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.tasks import split_tasks

_RULES = ("convolution", "matmul", "reduction", "elementwise")  # the heaviest one names a function


def schedule(program: Program, unit: VectorUnit) -> tuple[tirx.PrimFunc, str]:
    """Return the function with parallel and vectorised loops, and the rule that made them.

    The program is changed on the way: stages are inlined and fused.
    """
    unroll_short_sums(program)
    inline_stages(program)
    flat = FlatBuffers(program)
    contractions = _take_contractions(program, flat, unit)
    statements = []
    rules = {"elementwise"}
    alone = {i for i, stage in enumerate(program.stages) if stage.buffers[0] in contractions}
    for stages, prefix in group_stages(program, alone):
        contraction = contractions.get(stages[0].buffers[0])
        if contraction is not None:
            statements.append(_emit_contraction(contraction, unit, program.analyzer))
            rules.add("convolution" if contraction.is_convolution else "matmul")
        elif prefix:
            statements.append(_emit_group(program, stages, prefix, flat, unit))
        else:
            statements.append(_emit_single(program, stages[0], flat, unit))
        if contraction is None and not all(stage.is_injective for stage in stages):
            rules.add("reduction")
    rule = next(rule for rule in _RULES if rule in rules)
    body = expand_dots(expand_calls(sequence([*flat.declarations, *statements])))
    body = shield_falling(body)
    if unit.tiles:
        written = {buffer for stage in program.stages for buffer in stage.buffers}
        kept = [b for b in written if b not in program.locals and not program.consumers(b)]
        body = stream_results(body, {flat.view(buffer) for buffer in kept})
    return _finish(program.function, body), rule


def _emit_contraction(
    contraction: Contraction, unit: VectorUnit, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Emit a contraction in matrix tiles, where they are and pay, or in registers."""
    if contraction.pairs:
        contraction = replace(contraction, value=shortened(contraction.value))
    if unit.tiles and amx.takes(contraction):
        return amx.emit_contraction(contraction, analyzer)
    return emit_contraction(contraction, choose_tiling(contraction, unit), analyzer)


def _take_contractions(
    program: Program, flat: FlatBuffers, unit: VectorUnit
) -> dict[Var, Contraction]:
    """Return the contractions by output; an epilogue that joined one is no stage any more."""
    found: dict[Var, Contraction] = {}
    for stage in list(program.stages):
        if not is_contraction(stage):
            continue
        epilogue = find_epilogue(program, stage)
        contraction = classify(program, stage, epilogue, flat, unit.tiles)
        if contraction is None:
            continue
        found[(epilogue or stage).buffers[0]] = contraction
        if epilogue is not None:
            # What the epilogue stores now comes from the contraction, at the epilogue's place:
            # all that it reads has been computed by then.
            place = replace(stage, buffers=epilogue.buffers)
            program.stages = [
                place if other is epilogue else other
                for other in program.stages
                if other is not stage
            ]
            program.locals = [b for b in program.locals if not b.same_as(stage.buffers[0])]
    return found


def _finish(function: tirx.PrimFunc, body: tirx.Stmt) -> tirx.PrimFunc:
    """Return `function` with another body, every loop variable made unique."""
    # Relax's passes expect a root block; nothing is left in it for them to schedule.
    root = SBlockRealize([], True, SBlock([], [], [], "root", body))
    module = tvm.IRModule({"main": function.with_body(root)})
    return tirx.transform.ConvertSSA()(module)["main"]


def _emit_group(
    program: Program, stages: list[Stage], prefix: int, flat: FlatBuffers, unit: VectorUnit
) -> tirx.Stmt:
    """Emit stages that share their first `prefix` axes; what only they use lives in the loop."""
    shared = stages[-1].axes[:prefix]
    allocations: list[tirx.Stmt] = []
    for buffer in _private(program, stages):
        allocations += flat.make_local(buffer, prefix)
    nests = []
    for stage in stages:
        stage = _with_prefix(stage, shared)
        flattened = flatten(program, stage, flat)
        flattened = drop_unit_axes(flattened, program.analyzer, keep=prefix)
        flattened = merge_axes(flattened, program.analyzer, keep=prefix)
        nests.append(_emit_nest(flattened, flattened.spatial[prefix:], unit, program))
    return parallel(shared, sequence([*allocations, *nests]))


def _with_prefix(stage: Stage, shared: tuple[Axis, ...]) -> Stage:
    """Return the stage with its leading axes' variables replaced by the shared ones."""
    own = stage.axes[: len(shared)]
    mapping = {a.var: b.var for a, b in zip(own, shared, strict=True)}

    def rename(values: tuple) -> tuple:
        return tuple(substitute(v, mapping) for v in values)

    reduction = stage.reduction
    if reduction is not None:
        reduction = replace(reduction, terms=rename(reduction.terms))
    return replace(
        stage,
        axes=(*shared, *stage.axes[len(shared) :]),
        indices=rename(stage.indices),
        values=rename(stage.values),
        reduction=reduction,
    )


def _private(program: Program, stages: list[Stage]) -> list[Var]:
    """Return the local buffers that no stage outside the group reads."""
    written = {buffer for stage in stages for buffer in stage.buffers}
    others = [stage for stage in program.stages if not set(stage.buffers) & written]
    read_outside = {load.source for stage in others for load in stage.reads()}
    return [buffer for buffer in program.locals if buffer in written - read_outside]


def _emit_nest(
    stage: FlatStage, axes: tuple[Axis, ...], unit: VectorUnit, program: Program
) -> tirx.Stmt:
    rule = reduction_nest if stage.reduced else elementwise_nest
    return rule(stage, axes, value_lanes(stage, unit.lanes), program.analyzer)


def _emit_single(program: Program, stage: Stage, flat: FlatBuffers, unit: VectorUnit) -> tirx.Stmt:
    """Emit one stage: a parallel loop over its outer axes, the rest serial and vectorised."""
    flattened = flatten(program, stage, flat)
    flattened = drop_unit_axes(flattened, program.analyzer)
    flattened = merge_axes(flattened, program.analyzer)
    if not flattened.reduced:
        lanes = value_lanes(flattened, unit.lanes)
        return elementwise_loops(flattened, lanes, program.analyzer)
    whole_points = reduces_across_lanes(flattened)
    flattened, tasks = split_tasks(flattened, whole_points, program.analyzer)
    body = _emit_nest(flattened, flattened.spatial[len(tasks) :], unit, program)
    return parallel(tasks, body)
