"""The loop by which the machine's peak is measured does all the work that it is credited with."""

import numpy as np
import pytest
import tvm

from sam_tvm.benchmark import peak
from sam_tvm.kernels.target_features import has_bfloat16, vector_unit
from sam_tvm.pipeline import targets

ACCUMULATORS, ITERATIONS, THREADS = 5, 1000, 2
FASTEST_CLOCK_GHZ, MOST_UNITS = 10, 4  # of any CPU that there is


@pytest.fixture(scope="module")
def target():
    return targets.resolve("llvm")


def run_loop(instruction, seed: float, target) -> np.ndarray:
    function = peak.compile_loop(peak.loop(instruction, ACCUMULATORS), THREADS, target)
    out = tvm.runtime.tensor(np.full((THREADS, peak.CACHE_LINE_FLOATS), seed, np.float32))
    function(out, ITERATIONS)
    return out.numpy()[:, 0]


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_every_thread_adds_up_every_product(target, lanes):
    sums = run_loop(peak.fused_multiply_add(lanes), 0.5, target)
    assert sums.tolist() == [ACCUMULATORS * ITERATIONS * 0.25] * THREADS


def test_the_bfloat16_loop_adds_up_both_products(target):
    if not has_bfloat16(target):
        pytest.skip("this CPU has no dpbf16ps")
    two_halves = np.array([0x3F003F00], np.uint32).view(np.float32)[0]
    sums = run_loop(peak.bfloat16_dot_product(), two_halves, target)
    assert sums.tolist() == [ACCUMULATORS * ITERATIONS * 2 * 0.25] * THREADS


def test_the_peak_is_one_that_a_cpu_can_have(target, monkeypatch):
    monkeypatch.setattr(peak, "REPEATS", 9)
    unit = vector_unit(target)
    gflops = peak.measure(peak.fused_multiply_add(unit.lanes), 12, 1, target)
    assert 0.1 < gflops < 2 * unit.lanes * MOST_UNITS * FASTEST_CLOCK_GHZ


def test_the_loop_of_matrix_tiles_runs_in_every_thread(target, monkeypatch):
    if not vector_unit(target).tiles:
        pytest.skip("this CPU has no AMX")
    function = peak.compile_loop(peak.tile_loop(), THREADS, target)
    out = tvm.runtime.tensor(np.full((THREADS, peak.CACHE_LINE_FLOATS), 0.5, np.float32))
    function(out, ITERATIONS)
    assert out.numpy()[:, 0].tolist() == [0.5] * THREADS
    monkeypatch.setattr(peak, "REPEATS", 9)
    gflops = peak.measure_loop(peak.tile_loop(), peak.FLOPS_OF_TILES, 1, target)
    # A product of tiles takes 16 cycles.
    assert 0.1 < gflops < peak.FLOPS_OF_TILES / 4 / 16 * FASTEST_CLOCK_GHZ
