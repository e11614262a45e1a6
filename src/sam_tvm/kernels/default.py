"""The rule for every PrimFunc that no kernel was written for: parallel, vectorised loops.

Runs after LegalizeOps, AnnotateTIROpPattern, FoldConstant, FuseOps and FuseTIR. Each function gets
the attributes `tirx.is_scheduled` and `sam_tvm.rule`; the latter names what scheduled it:
`matmul`, `convolution`, `reduction`, `elementwise`, `reshape` (left for the zero-copy rewrite) or
`fallback` (loops kept as they were, the outermost parallel where that is safe).
"""

from __future__ import annotations

import logging

import tvm
from tvm import relax, tirx

from sam_tvm.kernels.bfloat16_instructions import in_software
from sam_tvm.kernels.fallback import parallelise_outer_loops
from sam_tvm.kernels.lower import schedule
from sam_tvm.kernels.program import UnsupportedFunctionError, parse
from sam_tvm.kernels.target_features import (
    VectorUnit,
    computes_bfloat16,
    has_bfloat16,
    vector_unit,
)

RULE = "sam_tvm.rule"
_OPAQUE = 8  # kOpaque: a later FuseOps must not take a scheduled function apart
_LOGGER = logging.getLogger(__name__)


def passes(target: tvm.target.Target | str) -> list[tvm.ir.transform.Pass]:
    """Return the passes that schedule every PrimFunc of a legalised, fused module.

    Args:
        target: an LLVM target; its vector width decides the tiles.

    """
    target = tvm.target.Target(target)
    lacks_bfloat16 = computes_bfloat16(target) and not has_bfloat16(target)
    return [_schedule_pass(vector_unit(target)), *([in_software()] if lacks_bfloat16 else [])]


def rules_used(module: tvm.IRModule) -> dict[str, str]:
    """Return, for each scheduled function, the rule that handled it."""
    return {
        var.name_hint: str(function.attrs[RULE])
        for var, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc) and RULE in (function.attrs or {})
    }


def _schedule_pass(unit: VectorUnit) -> tvm.ir.transform.Pass:
    @tvm.transform.module_pass(opt_level=0, name="SamTvmDefaultSchedule")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        updates = {
            var: schedule_function(function, unit)
            for var, function in module.functions_items()
            if isinstance(function, tirx.PrimFunc) and not is_scheduled(function)
        }
        for var, function in updates.items():
            module[var] = function
        return module

    return run


def schedule_function(function: tirx.PrimFunc, unit: VectorUnit) -> tirx.PrimFunc:
    """Schedule one function; falls back to its own loops if no rule fits it."""
    try:
        program = parse(function)
        if relax.analysis.has_reshape_pattern(function):
            scheduled, rule = parallelise_outer_loops(function), "reshape"
        else:
            scheduled, rule = schedule(program, unit)
    except UnsupportedFunctionError as reason:
        _LOGGER.info("fallback schedule: %s", reason)
        scheduled, rule = parallelise_outer_loops(function), "fallback"
    except (tvm.error.InternalError, TypeError, ValueError) as error:
        # A form that no rule foresaw must not end the build; `rules_used` still names it.
        _LOGGER.warning("fallback schedule after %s: %s", type(error).__name__, error)
        scheduled, rule = parallelise_outer_loops(function), "fallback"
    return mark(scheduled, rule)


def mark(function: tirx.PrimFunc, rule: str) -> tirx.PrimFunc:
    """Return a function whose loops are final, as one that `rule` has scheduled."""
    return function.with_attr(
        {RULE: rule, "tirx.is_scheduled": True, "op_pattern": tirx.IntImm("int32", _OPAQUE)}
    )


def is_scheduled(function: tirx.PrimFunc) -> bool:
    """Tell whether a function's loops are final."""
    attrs = function.attrs or {}
    return "tirx.is_scheduled" in attrs and bool(attrs["tirx.is_scheduled"])
