"""The pass that gives every TIR function its loops for a GPU.

TVM's schedules (dlight) are tried in order, from the most particular to the most general. They were
written for the shapes of language models: some raise an error for what they do not expect, some
leave a local array of symbolic size, which no code generator takes. So each result is lowered and
checked, and the next rule is tried where it does not hold.
"""

from __future__ import annotations

from collections.abc import Callable

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.dlight import gpu
from tvm.s_tir.stmt import SBlock

from sam_tvm.kernels.default import RULE
from sam_tvm.kernels.gpu import elements
from sam_tvm.kernels.gpu.finite import finite_constants
from sam_tvm.kernels.gpu.limits import exceeded
from sam_tvm.kernels.gpu.names import short_names
from sam_tvm.kernels.gpu.selection import scalar_conditions

_EXPLICIT = "pragma_unroll_explicit"
Rule = Callable[[tirx.PrimFunc, tvm.target.Target], "s_tir.Schedule | None"]
# What the lowering says of a function that it cannot take, and what else TVM's Python code comes
# upon in one that it did not expect.
_REFUSED = (s_tir.ScheduleError, tvm.error.InternalError, RuntimeError, ValueError)
_MISFITS = (*_REFUSED, TypeError, AssertionError, AttributeError, IndexError, KeyError)


class UnschedulableError(ValueError):
    """No rule gives a function loops that a GPU can run."""


def _dlight(rule: gpu.base.GPUScheduleRule) -> Rule:
    return lambda function, target: rule.apply(function, target, False)


def _matmul(function: tirx.PrimFunc, target: tvm.target.Target) -> s_tir.Schedule | None:
    """Tile a product; for Metal, too, as for a device without matrix instructions."""
    if target.kind.name == "metal":
        shared = int(target.attrs["max_shared_memory_per_block"])
        target = tvm.target.Target({"kind": "opencl", "max_shared_memory_per_block": shared})
    return gpu.Matmul().apply(function, target, False)


RULES: dict[str, Rule] = {
    "matmul": _matmul,
    "gemv": _dlight(gpu.GEMV()),
    "reduction": _dlight(gpu.Reduction()),
    "general-reduction": _dlight(gpu.GeneralReduction()),
    "transpose": _dlight(gpu.Transpose()),
    "fallback": _dlight(gpu.Fallback()),
    "elements": elements.apply,
}


def passes(target: tvm.target.Target) -> list[tvm.ir.transform.Pass]:
    """Return the passes that schedule every PrimFunc of a legalised, fused module.

    Args:
        target: a GPU, with its host.

    """

    @tvm.transform.module_pass(opt_level=0, name="SamTvmGpuSchedule")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        updates = {
            var: schedule_function(function, target)
            for var, function in module.functions_items()
            if isinstance(function, tirx.PrimFunc)
        }
        for var, function in updates.items():
            module[var] = function
        return module

    finite = [finite_constants()] if target.kind.name == "webgpu" else []
    return [short_names(), scalar_conditions(), run, *finite]


def schedule_function(function: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    """Give one function the loops of the first rule that fits.

    Raises:
        UnschedulableError: none does; the message says why each did not.

    """
    if _is_bound(function):
        return _marked(function, "tvm")
    reasons = []
    # For tensor cores dlight parses its intrinsics anew for each product, which takes minutes.
    function = function.with_attr("dlight.do_not_tensorize", True)
    for name, rule in RULES.items():
        try:
            schedule = rule(function, target)
        except _MISFITS as error:
            reasons.append(f"{name}: {_last_line(error)}")
            continue
        if schedule is None:
            continue
        _leave_unrolling(schedule)
        scheduled = schedule.mod["main"]
        try:
            reason = exceeded(scheduled, target)
        except _REFUSED as error:
            reason = _last_line(error)
        if reason is None:
            return _marked(scheduled, name)
        reasons.append(f"{name}: {reason}")
    raise UnschedulableError("no GPU schedule fits: " + "; ".join(reasons))


def _leave_unrolling(schedule: s_tir.Schedule) -> None:
    """Leave it to the device's compiler to unroll loops: written out, they are megabytes."""
    names: list[str] = []
    body = schedule.mod["main"].body
    tvm_ffi.structural_walk(body, [(SBlock, lambda block: names.append(block.name_hint))])
    for name in names:
        if names.count(name) > 1:  # of no use to a schedule: it finds blocks by their names
            continue
        for loop in schedule.get_loops(schedule.get_sblock(name)):
            if _EXPLICIT in schedule.get(loop).annotations:
                schedule.unannotate(loop, _EXPLICIT)
                schedule.annotate(loop, _EXPLICIT, 0)


def _last_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason').splitlines()[-1]}"


def _marked(function: tirx.PrimFunc, rule: str) -> tirx.PrimFunc:
    return function.with_attr({RULE: rule, "tirx.is_scheduled": True})


def _is_bound(function: tirx.PrimFunc) -> bool:
    """Tell whether a function comes with its threads, as TVM's scatters and sorts do."""
    found: list[tirx.AttrStmt] = []

    def visit(statement: tirx.AttrStmt) -> None:
        if statement.attr_key == "thread_extent":
            found.append(statement)

    tvm_ffi.structural_walk(function.body, [(tirx.AttrStmt, visit)])
    return bool(found)
