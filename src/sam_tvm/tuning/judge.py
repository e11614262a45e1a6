"""Whether loops that were found truly win: the same numbers, and faster in the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import tirx

from sam_tvm.kernels.default import RULE, schedule_function
from sam_tvm.kernels.target_features import vector_unit
from sam_tvm.runtime.threads import allow_all_cpus
from sam_tvm.tuning.apply import tuned
from sam_tvm.tuning.database import Record

TOLERANCE = 1e-5  # of a result, relative to its largest value: sums may be taken in another order
WIN = 0.95  # of our rule's time, at most
_ROUNDS = 7
_SECONDS = 0.02  # that one measurement lasts at least


@dataclass(frozen=True)
class Judgement:
    """What became of the candidates for one function: a record, or why there is none."""

    rule: str
    rule_ms: float
    record: Record | None
    reason: str = ""

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Judgement:
        """A judgement that was written as JSON."""
        return cls(**{**raw, "record": raw["record"] and Record(**raw["record"])})


def judge(
    name: str, function: tirx.PrimFunc, traces: Sequence[list[Any]], target: tvm.target.Target
) -> Judgement:
    """Compare candidates with our rule's loops, by turns; the fastest that is right, if it wins.

    Args:
        name: of the function, for the record.
        function: before it is scheduled, of constant shapes.
        traces: MetaSchedule's steps of each candidate.
        target: this machine.
    """
    allow_all_cpus()
    ours = schedule_function(function, vector_unit(target))
    rule, arrays = str(ours.attrs[RULE]), _arguments(function)
    ours_run, expected = _runner(ours, target, arrays)
    runs, errors, reasons = [ours_run], [0.0], []
    kept: list[list[Any]] = []
    for trace in traces:
        try:
            run, result = _runner(tuned(function, trace), target, arrays)
        except (tvm.error.InternalError, RuntimeError, TypeError, ValueError) as error:
            reasons.append(f"does not compile ({type(error).__name__})")
            continue
        error = largest_error(result, expected)
        if not error <= TOLERANCE:
            reasons.append(f"is wrong by {error:.1e}")
            continue
        runs.append(run)
        errors.append(error)
        kept.append(trace)
    times = _times(runs)
    rule_ms = times[0]
    if not kept:
        return Judgement(rule, rule_ms, None, "; ".join(reasons) or "no candidate ran")
    index = min(range(1, len(times)), key=times.__getitem__)
    if times[index] > WIN * rule_ms:
        return Judgement(rule, rule_ms, None, f"the best takes {times[index]:.4g} ms")
    record = Record(
        name, rule, round(rule_ms, 5), round(times[index], 5), errors[index], kept[index - 1]
    )
    return Judgement(rule, rule_ms, record)


def largest_error(result: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference, relative to the largest value; NaN and infinities must agree."""
    errors = [0.0]
    for ours, theirs in zip(result, expected, strict=True):
        finite = np.isfinite(theirs)
        special = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
        if not special or not np.isfinite(ours[finite]).all():
            return float("inf")
        if finite.any():
            wide = theirs[finite].astype(np.float64)
            scale = max(float(np.abs(wide).max()), np.finfo(np.float32).tiny)
            errors.append(float(np.abs(ours[finite].astype(np.float64) - wide).max()) / scale)
    return max(errors)


def _arguments(function: tirx.PrimFunc) -> list[np.ndarray]:
    """Something to compute on; indices are 0 and 1."""
    rng = np.random.default_rng(0)
    arrays = []
    for buffer in function.params:
        shape, dtype = [int(size) for size in buffer.shape], str(buffer.dtype)
        if dtype.startswith("float"):
            arrays.append(rng.standard_normal(shape).astype(dtype))
        else:
            arrays.append(rng.integers(0, 2, shape).astype(dtype))
    return arrays


def _runner(
    function: tirx.PrimFunc, target: tvm.target.Target, arrays: Sequence[np.ndarray]
) -> tuple[Callable[[], float], list[np.ndarray]]:
    """What measures the function's seconds, and all its arguments after one call."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with target, tvm.transform.PassContext(opt_level=3):
        library = tvm.tirx.build(module, target=target)
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    library["main"](*tensors)
    timer = library.time_evaluator(
        "main", tvm.cpu(), number=1, repeat=1, min_repeat_ms=int(1000 * _SECONDS)
    )
    return lambda: float(timer(*tensors).mean), [tensor.numpy() for tensor in tensors]


def _times(runs: Sequence[Callable[[], float]]) -> list[float]:
    """Milliseconds of each, the least of rounds in which each has its turn.

    Other work on the machine only adds to a time, and most where threads wait for each other.
    """
    rounds = [[run() for run in runs] for _ in range(_ROUNDS)]
    return [1000 * min(column) for column in zip(*rounds, strict=True)]
