"""The last rule for a GPU: a thread computes one element, with what lies inside it as it was."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.ir import Var
from tvm.s_tir.stmt import SBlockRealize

_THREADS = 256
_realize_of = tvm.get_global_func("s_tir.schedule.GetSBlockRealize")


def apply(function: tirx.PrimFunc, target: tvm.target.Target) -> s_tir.Schedule | None:
    """Bind the outer loops of each nest to blocks and threads.

    A loop is bound if it is a spatial axis of the nest's outermost block, so that its steps are
    independent; reductions and whatever lies within the block stay loops of the thread.

    Returns:
        The schedule; None where two blocks share a loop.

    """
    schedule = s_tir.Schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    nests = [schedule.get_loops(block) for block in blocks]
    outermost = [schedule.get(loops[0]).loop_var for loops in nests if loops]
    if any(var.same_as(other) for i, var in enumerate(outermost) for other in outermost[:i]):
        return None
    threads = min(_THREADS, int(target.attrs["max_num_threads"]))
    for block, loops in zip(blocks, nests, strict=True):
        spatial = _spatial(_realize_of(schedule, block))
        bound = []
        for loop in loops:
            if not any(schedule.get(loop).loop_var.same_as(var) for var in spatial):
                break
            bound.append(loop)
        whole = schedule.fuse(*bound) if bound else schedule.add_unit_loop((loops or [block])[0])
        outer, inner = schedule.split(whole, [None, threads])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    return schedule


def _spatial(realize: SBlockRealize) -> list[Var]:
    """The variables that a spatial axis of the block is bound to as they are."""
    return [
        value
        for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
        if int(axis.iter_type) == 0 and isinstance(value, Var)
    ]
