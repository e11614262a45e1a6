"""What no rule understands: keep the loops, run the outermost ones in parallel where it is safe."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Var
from tvm.s_tir.stmt import SBlockRealize

from sam_tvm.kernels.expressions import constant_value


def parallelise_outer_loops(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Return the function with the outermost loop of each nest parallel if it only maps elements.

    Such a loop is a spatial axis of every block below it, so that its steps are independent.
    """
    if not isinstance(function.body, SBlockRealize):
        return function
    realize = function.body
    root = realize.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    nests = [_parallel(nest) for nest in nests]
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


def _is_safe(nest: tirx.For) -> bool:
    if nest.kind != tirx.ForKind.SERIAL:
        return False
    realizes: list[SBlockRealize] = []
    tvm_ffi.structural_walk(nest, (SBlockRealize, realizes.append))
    scheduled: list[tirx.For] = []

    def visit(inner: tirx.For) -> None:
        if inner.kind != tirx.ForKind.SERIAL:
            scheduled.append(inner)

    tvm_ffi.structural_walk(nest, (tirx.For, visit))
    return (
        bool(realizes)
        and not scheduled
        and all(_is_spatial(realize, nest.loop_var) for realize in realizes)
    )


def _is_spatial(realize: SBlockRealize, var: Var) -> bool:
    return any(
        int(axis.iter_type) == 0 and isinstance(value, Var) and value.same_as(var)
        for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
    )


def _parallel(nest: tirx.Stmt) -> tirx.Stmt:
    if not isinstance(nest, tirx.For):
        return nest
    if constant_value(nest.extent) == 1:
        return tirx.For(nest.loop_var, nest.min, nest.extent, nest.kind, _parallel(nest.body))
    if not _is_safe(nest):
        return nest
    return tirx.For(nest.loop_var, nest.min, nest.extent, tirx.ForKind.PARALLEL, nest.body)
