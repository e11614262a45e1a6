"""Helpers of the benchmark's tests."""

import sys
from pathlib import Path

import pytest


@pytest.fixture
def tasks(monkeypatch):
    """The module `tasks`, which worker processes find too."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    import tasks

    yield tasks
    sys.modules.pop("tasks")


@pytest.fixture
def row():
    """Make a row of the report."""

    def make(component="scoring_head", engine="tvm", median_s=1.0, run="1", **more):
        figures = ("mean_s", "p95_s", "p99_s", "throughput_per_s", "peak_rss_gb", "gflops")
        return {
            "component": component,
            "engine": engine,
            "precision": "float32",
            **dict.fromkeys(figures, median_s),
            "median_s": median_s,
            "runs": 3,
            "rounds": 1,
            "max_abs_error": 0.0,
            "error": None if median_s else "it rains",
            "run": run,
            **more,
        }

    return make


@pytest.fixture
def header():
    """What a report says besides its rows."""

    def make(threads=2, peak=100.0, sha256="abc"):
        return {
            "preset": "tiny",
            "target": "llvm",
            "machine": {
                "cpu": "a CPU",
                "threads": threads,
                "fma_peak_gflops": peak,
                "fma_peak_gflops_bfloat16": None,
            },
            "weights": {"sam3": {"source": "random, seed 0", "sha256": sha256}},
            "versions": {"torch": "2.13.0"},
        }

    return make
