"""Timing of a few steps in turn, for as long as a budget allows, and what to say of the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

MIN_RUNS = 3
MAX_RUNS = 1000
WARM_UP_RUNS = 2

Steps = Mapping[str, Callable[[], None]]
Clock = Callable[[], float]


def warm_up(
    steps: Steps, budget_s: float, fewest: int = 1, clock: Clock = time.perf_counter
) -> None:
    """Run all steps `WARM_UP_RUNS` times; `fewest` times if that takes half the budget."""
    started = clock()
    for done in range(1, max(WARM_UP_RUNS, fewest) + 1):
        for step in steps.values():
            step()
        if done >= fewest and clock() - started > budget_s / 2:
            return


def time_steps(
    steps: Steps, budget_s: float, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Time the steps, which run in turn, until the budget is spent.

    Args:
        steps: name -> what to run.
        budget_s: seconds after which no further run starts, `MIN_RUNS` aside.
        clock: seconds since some moment.

    Returns:
        Seconds of every run by step; equally many of each, `MIN_RUNS` to `MAX_RUNS`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    started = clock()
    for done in range(MAX_RUNS):
        if done >= MIN_RUNS and clock() - started >= budget_s:
            break
        for name, step in steps.items():
            before = clock()
            step()
            seconds[name].append(clock() - before)
    return seconds


def summarise(seconds: Sequence[float]) -> dict[str, float]:
    """Latency and throughput, as the report names them; percentiles are interpolated linearly."""
    median, p95, p99 = np.percentile(seconds, (50, 95, 99))
    mean = float(np.mean(seconds))
    return {
        "mean_s": mean,
        "median_s": float(median),
        "p95_s": float(p95),
        "p99_s": float(p99),
        "throughput_per_s": 1 / mean,
        "runs": len(seconds),
    }
