"""The task that times one engine on one workload, in a process of its own."""

from __future__ import annotations

import importlib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_tvm.benchmark.accuracy import Accuracy, check, compare
from sam_tvm.benchmark.engines import ENGINES
from sam_tvm.benchmark.memory import peak_rss_bytes, reset_peak_rss
from sam_tvm.benchmark.process import Phase
from sam_tvm.benchmark.timing import time_steps, warm_up
from sam_tvm.benchmark.workload import Request


@dataclass(frozen=True)
class Measurement:
    """What one process measured.

    Attributes:
        seconds: of each run, by step.
        load_s: until the model was ready for its first run.
        peak_rss_bytes: of the process, loading and warming up included.
        run_rss_bytes: while it was timed; None where the system cannot tell.
        accuracy: errors against PyTorch.
        kernels: seconds of each kernel in one run, where the engine tells.
    """

    seconds: dict[str, list[float]]
    load_s: float
    peak_rss_bytes: int
    run_rss_bytes: int | None
    accuracy: Accuracy
    kernels: dict[str, float] | None = None


@dataclass(frozen=True)
class Measure:
    """Time `request`, and check its outputs.

    Attributes:
        request: what to time.
        expected: ``.npz`` of PyTorch's outputs by name.
        budget_s: seconds of timed runs.
        profile: whether to ask for the kernels' times too.
    """

    request: Request
    expected: Path
    budget_s: float
    profile: bool = False

    def run(self, phase: Phase) -> Measurement:
        """Load, warm up, time, and then check, which takes memory of its own."""
        with ExitStack() as stack:
            phase("loading")
            started = time.perf_counter()
            engine = ENGINES[self.request.engine]
            workload = importlib.import_module(engine.module).load(self.request, stack)
            load_s = time.perf_counter() - started
            phase("warming up")
            warm_up(workload.steps, self.budget_s, engine.warm_up_runs)
            peak = peak_rss_bytes()
            known = reset_peak_rss()
            phase("timing")
            seconds = time_steps(workload.steps, self.budget_s)
            run_peak = peak_rss_bytes()
            phase("checking")
            with np.load(self.expected) as expected:
                outputs = {name: expected[name] for name in expected.files}
            accuracy = compare(workload.outputs(), outputs)
            check(accuracy, self.request.precision)
            kernels = None
            if self.profile and workload.profile is not None:
                phase("profiling")
                kernels = workload.profile()
        return Measurement(
            seconds=seconds,
            load_s=load_s,
            peak_rss_bytes=max(peak, run_peak),
            run_rss_bytes=run_peak if known else None,
            accuracy=accuracy,
            kernels=kernels,
        )
