"""The pass that gives functions the loops that were found for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import tvm
from tvm import s_tir, tirx

from sam_tvm.kernels.default import is_scheduled, mark
from sam_tvm.kernels.divisions import shield_falling
from sam_tvm.tuning.database import Database, find, function_key

TUNED = "tuned"
_LOGGER = logging.getLogger(__name__)


def passes(target: tvm.target.Target) -> list[tvm.ir.transform.Pass]:
    """The pass for `target`, before our rules run; none where there are no records for it."""
    database = find(target)
    return [] if database is None else [_use(database)]


def _use(database: Database) -> tvm.ir.transform.Pass:
    @tvm.transform.module_pass(opt_level=0, name="SamTvmTunedSchedule")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if not isinstance(function, tirx.PrimFunc) or is_scheduled(function):
                continue
            record = database.records.get(function_key(function))
            if record is None:
                continue
            try:
                module[var] = tuned(function, record.trace)
            except (tvm.error.InternalError, RuntimeError, TypeError, ValueError) as e:
                # Our rule takes the function; `rules_used` names what was used.
                _LOGGER.warning("record of %s not used: %s", record.function, type(e).__name__)
        return module

    return run


def copied(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """A function called ``main`` that shares nothing with `function`.

    MetaSchedule's `Unannotate` takes annotations from the function that it was given, too.
    """
    named = function.with_attr("global_symbol", "main")
    return tvm.ir.load_json(tvm.ir.save_json(named))


def tuned(function: tirx.PrimFunc, trace: Sequence[Any]) -> tirx.PrimFunc:
    """The function after MetaSchedule's steps, as one that our rules have scheduled.

    Raises:
        tvm.error.InternalError: if the steps do not fit the function.
    """
    schedule = s_tir.Schedule(tvm.IRModule({"main": copied(function)}))
    s_tir.schedule.Trace.apply_json_to_schedule(trace, schedule)
    found = schedule.mod["main"]
    loops = found.with_body(shield_falling(found.body)).without_attr("global_symbol")
    if name := (function.attrs or {}).get("global_symbol"):
        loops = loops.with_attr("global_symbol", name)
    return mark(loops, TUNED)
