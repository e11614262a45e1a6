"""Rows of the report, from what the processes measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sam_tvm.benchmark.measure import Measurement
from sam_tvm.benchmark.timing import summarise
from sam_tvm.benchmark.workload import END_TO_END

UNKNOWN = "unknown"  # of kernels whose rule was not recorded
UNMATCHED = ("fallback", UNKNOWN)
VM_CALLS = ("vm.", "shape_func")  # the virtual machine's own: memory, shapes
SLOWEST = 10  # kernels that a row names
GIGA = 1e9


@dataclass
class Outcome:
    """How one engine did on one workload: a measurement of each round, or why there is none."""

    measurements: list[Measurement] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class Context:
    """What rows of one run have in common.

    Attributes:
        run: identity of the run: only rows of one run may be compared.
        flops: of each row's name.
    """

    run: str
    flops: Mapping[str, int]


def rows_of(
    name: str,
    steps: Sequence[str],
    case: str,
    engine: str,
    precision: str,
    outcome: Outcome,
    context: Context,
) -> list[dict[str, Any]]:
    """The rows of a workload: one, or for the end-to-end run one of each step and of the whole.

    Args:
        name: of the workload.
        steps: its steps.
        case: what it was run on.
        engine: the engine's name.
        precision: in which it ran.
        outcome: how it went.
        context: what rows of this run share.
    """
    whole = [END_TO_END] if name == END_TO_END else []
    rows = []
    for row_name in [*steps, *whole]:
        header = {"component": row_name, "engine": engine, "precision": precision}
        row = {**header, **EMPTY, "case": case, "error": outcome.error, "run": context.run}
        if outcome.error is None:
            seconds = _seconds(row_name, steps, outcome.measurements)
            row |= _figures(seconds, row_name, outcome.measurements, context)
        rows.append(row)
    return rows


EMPTY: dict[str, Any] = dict.fromkeys(
    ("mean_s", "median_s", "p95_s", "p99_s", "throughput_per_s", "peak_rss_gb", "gflops")
)


def _seconds(name: str, steps: Sequence[str], measurements: Sequence[Measurement]) -> list[float]:
    """All runs of a step, or of all steps together."""
    if name in steps:
        return [second for each in measurements for second in each.seconds[name]]
    return [
        sum(together)
        for each in measurements
        for together in zip(*(each.seconds[step] for step in steps), strict=True)
    ]


def _figures(
    seconds: Sequence[float],
    name: str,
    measurements: Sequence[Measurement],
    context: Context,
) -> dict[str, Any]:
    summary, flops = summarise(seconds), context.flops.get(name)
    gflops = flops / summary["median_s"] / GIGA if flops else None
    running = [each.run_rss_bytes for each in measurements]
    return {
        **summary,
        "rounds": len(measurements),
        "load_s": min(each.load_s for each in measurements),
        "peak_rss_gb": max(each.peak_rss_bytes for each in measurements) / GIGA,
        "run_rss_gb": max(running) / GIGA if all(running) else None,
        "flops": flops,
        "gflops": gflops,
        "max_abs_error": max(each.accuracy.max_abs_error for each in measurements),
        "relative_error": max(each.accuracy.relative_error for each in measurements),
    }


def kernel_facts(
    outcome: Outcome, rules: Mapping[str, str], packing_s: float | None
) -> dict[str, Any]:
    """What a row of ours says of its kernels: from the last round, which was profiled.

    Args:
        outcome: how the library did.
        rules: function -> the rule that made it; of others it is `UNKNOWN`.
        packing_s: what packing the parameters took.
    """
    facts: dict[str, Any] = {"packing_s": packing_s}
    calls = outcome.measurements[-1].kernels if outcome.measurements else None
    if outcome.error is not None or not calls:
        return facts
    kernels = {name: second for name, second in calls.items() if not name.startswith(VM_CALLS)}
    total = sum(kernels.values())
    shares: defaultdict[str, float] = defaultdict(float)
    for name, second in kernels.items():
        shares[rules.get(name, UNKNOWN)] += second / total
    slowest = sorted(kernels, key=kernels.get, reverse=True)[:SLOWEST]
    return {
        **facts,
        "kernel_time_share": dict(sorted(shares.items(), key=lambda item: -item[1])),
        "unmatched_share": sum(shares.get(rule, 0.0) for rule in UNMATCHED),
        "vm_share": 1 - total / sum(calls.values()),
        "slowest_kernels": [
            {"name": name, "rule": rules.get(name, UNKNOWN), "share": kernels[name] / total}
            for name in slowest
        ],
    }
