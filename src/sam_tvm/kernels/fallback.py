"""What no rule understands: keep the loops, run the outermost ones in parallel where it is safe."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Var
from tvm.s_tir.stmt import SBlockRealize

from sam_tvm.kernels import loops
from sam_tvm.kernels.bfloat16 import expand_dots
from sam_tvm.kernels.divisions import shield_falling
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.loops import parallel
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.tasks import TASKS


def parallelise_outer_loops(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return the function with the outermost loop of each nest parallel if it only maps elements.

    Such a loop is a spatial axis of every block below it, so that its steps are independent.
    """
    if not isinstance(function.body, SBlockRealize):
        return function
    realize = function.body
    root = realize.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    nests = [shield_falling(expand_dots(_parallel(nest))) for nest in nests]
    body = nests[0] if len(nests) == 1 else tirx.SeqStmt(nests)
    block = type(root)(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        body,
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    return function.with_body(SBlockRealize(realize.iter_values, realize.predicate, block))


def _parallel(nest: tirx.Stmt) -> tirx.Stmt:
    """Return the nest with its outer loops as one parallel loop, as far as that is safe."""
    axes: list[Axis] = []
    body = nest
    while isinstance(body, tirx.For) and body.kind == tirx.ForKind.SERIAL:
        if constant_value(body.min) != 0:
            break
        axes.append(Axis(body.loop_var, body.extent, False))
        body = body.body
    taken, count = 0, 1
    for axis in axes:
        if count >= TASKS or not _maps(nest, axis.var):
            break
        taken += 1
        # A symbolic extent may be 1: the next loop joins it.
        count *= constant_value(axis.extent) or 1
    used = [axis for axis in axes[:taken] if constant_value(axis.extent) != 1]
    if not used or _is_scheduled(nest):
        return nest
    inner = nest
    for _ in range(taken):
        inner = inner.body
    units = [axis for axis in axes[:taken] if constant_value(axis.extent) == 1]
    return parallel(used, loops.nest(units, inner))


def _is_scheduled(nest: tirx.Stmt) -> bool:
    kinds: set[int] = set()
    tvm_ffi.structural_walk(nest, (tirx.For, lambda inner: kinds.add(int(inner.kind))))
    return kinds != {int(tirx.ForKind.SERIAL)}


def _maps(nest: tirx.Stmt, var: Var) -> bool:
    """Tell whether each step of the loop over `var` computes elements of its own.

    That is so if the variable is a spatial axis of every outermost block in the loop.
    """
    blocks: list[SBlockRealize] = []

    def visit(realize: SBlockRealize) -> tvm_ffi.WalkResult:
        blocks.append(realize)
        return tvm_ffi.WalkResult.SKIP

    tvm_ffi.structural_walk(nest, (SBlockRealize, visit), order="pre")
    return bool(blocks) and all(_is_spatial(realize, var) for realize in blocks)


def _is_spatial(realize: SBlockRealize, var: Var) -> bool:
    return any(
        int(axis.iter_type) == 0 and isinstance(value, Var) and value.same_as(var)
        for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
    )
