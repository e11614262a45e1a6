"""Rows from what the processes measured."""

import pytest

from sam_tvm.benchmark.accuracy import Accuracy
from sam_tvm.benchmark.measure import Measurement
from sam_tvm.benchmark.rows import Context, Outcome, kernel_facts, rows_of


def measurement(peak=2_000_000_000, kernels=None, **seconds):
    accuracy = Accuracy(1e-6, 1e-7)
    return Measurement(seconds, 3.0, peak, 1_000_000_000, accuracy, kernels)


def test_a_row_joins_all_rounds():
    outcome = Outcome([measurement(part=[1.0, 2.0]), measurement(peak=3_000_000_000, part=[3.0])])
    context = Context("now", {"part": 4_000_000_000})
    (row,) = rows_of("part", ("part",), "case", "tvm", "float32", outcome, context)
    assert (row["component"], row["engine"], row["precision"]) == ("part", "tvm", "float32")
    assert row["median_s"] == row["mean_s"] == 2.0
    assert row["gflops"] == pytest.approx(2.0)
    assert row["peak_rss_gb"] == 3.0
    assert (row["runs"], row["rounds"], row["error"]) == (3, 2, None)


def test_the_end_to_end_run_has_rows_for_its_steps_and_their_sum():
    outcome = Outcome([measurement(set_image=[5.0, 5.0, 7.0], text_prompt=[1.0, 2.0, 3.0])])
    steps = ("set_image", "text_prompt")
    rows = rows_of("end_to_end", steps, "case", "tvm", "float32", outcome, Context("now", {}))
    medians = {row["component"]: row["median_s"] for row in rows}
    assert medians == {"set_image": 5.0, "text_prompt": 2.0, "end_to_end": 7.0}
    assert rows[0]["gflops"] is None


def test_a_failure_is_a_row_with_the_reason_and_no_figures():
    outcome = Outcome([measurement(part=[1.0])], error="did not finish in 9 s (loading)")
    context = Context("now", {"part": 1})
    (row,) = rows_of("part", ("part",), "case", "tvm-stock", "float32", outcome, context)
    assert row["error"] == "did not finish in 9 s (loading)"
    figures = ("mean_s", "median_s", "p95_s", "p99_s", "throughput_per_s", "peak_rss_gb", "gflops")
    assert [row[name] for name in figures] == [None] * len(figures)


def test_kernels_are_grouped_by_rule_without_the_machines_own_calls():
    kernels = {"mm": 6.0, "mm1": 1.0, "odd": 1.0, "new": 2.0, "vm.builtin.alloc_tensor": 10.0}
    rules = {"mm": "matmul", "mm1": "matmul", "odd": "fallback"}
    facts = kernel_facts(Outcome([measurement(kernels=kernels, part=[1.0])]), rules, 0.5)
    assert facts["kernel_time_share"] == {"matmul": 0.7, "unknown": 0.2, "fallback": 0.1}
    assert facts["unmatched_share"] == pytest.approx(0.3)
    assert facts["vm_share"] == 0.5
    assert facts["packing_s"] == 0.5
    assert facts["slowest_kernels"][0] == {"name": "mm", "rule": "matmul", "share": 0.6}


def test_without_a_profile_there_are_no_shares():
    assert kernel_facts(Outcome(error="no"), {}, None) == {"packing_s": None}
