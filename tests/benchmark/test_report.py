"""What a report keeps of former runs, and what it shows."""

import json

from sam_tvm.benchmark.markdown import as_markdown
from sam_tvm.benchmark.report import merge, read_report, report_path, update_report


def medians(report):
    return {(row["component"], row["engine"]): row["median_s"] for row in report["results"]}


def test_fresh_rows_replace_their_own_and_the_others_stay(tmp_path, row, header):
    path = tmp_path / "benchmark_report.json"
    update_report(path, header(), [row(), row(engine="eager"), row("text_encoder")])
    report = update_report(path, header(), [row(median_s=2.0), row("geometry_encoder")])
    assert medians(report) == {
        ("geometry_encoder", "tvm"): 1.0,
        ("scoring_head", "tvm"): 2.0,
        ("scoring_head", "eager"): 1.0,
        ("text_encoder", "tvm"): 1.0,
    }
    assert read_report(path) == report == json.loads(path.read_text())
    assert path.with_suffix(".md").read_text() == as_markdown(report)


def test_a_failure_replaces_a_former_timing(row):
    (merged,) = merge([row()], [row(median_s=None)])
    assert merged["error"] == "it rains"


def test_precisions_are_rows_of_their_own(row):
    rows = [row(precision="bfloat16"), row(precision="float32")]
    assert [each["precision"] for each in merge([], rows)] == ["float32", "bfloat16"]


def test_rows_of_other_weights_or_threads_do_not_stay(tmp_path, row, header):
    path = tmp_path / "benchmark_report.json"
    for changed in ({"threads": 1}, {"sha256": "other"}):
        update_report(path, header(), [row()])
        report = update_report(path, header(**changed), [row("text_encoder")])
        assert list(medians(report)) == [("text_encoder", "tvm")]


def test_rows_of_another_model_stay(tmp_path, row, header):
    path = tmp_path / "benchmark_report.json"
    other = {**header(), "weights": {"sam3d": {"source": "random, seed 0", "sha256": "def"}}}
    update_report(path, header(), [row()])
    report = update_report(path, other, [row("ss_decoder")])
    assert list(medians(report)) == [("scoring_head", "tvm"), ("ss_decoder", "tvm")]
    assert list(report["weights"]) == ["sam3", "sam3d"]


def test_the_highest_measured_peak_counts_for_all_rows(tmp_path, row, header):
    path = tmp_path / "benchmark_report.json"
    update_report(path, header(peak=100.0), [row(gflops=50.0)])
    report = update_report(path, header(peak=200.0), [])
    assert report["results"][0]["peak_share"] == 0.25
    report = update_report(path, header(peak=120.0), [row("text_encoder", gflops=100.0)])
    assert report["machine"]["fma_peak_gflops"] == 200.0
    assert [each["peak_share"] for each in report["results"]] == [0.25, 0.5]


def test_a_damaged_report_is_made_anew(tmp_path, row, header):
    path = tmp_path / "benchmark_report.json"
    path.write_text('{"results": [')
    assert list(medians(update_report(path, header(), [row()]))) == [("scoring_head", "tvm")]


def test_another_target_has_a_report_of_its_own(job):
    from dataclasses import replace

    assert report_path(job).name == "benchmark_report.json"
    haswell = replace(job, target="llvm -mcpu=haswell")
    assert report_path(haswell).name == "benchmark_report-llvm_mcpu-haswell.json"


def test_tables_show_ratios_reasons_and_where_runs_differ(row, header):
    rows = [
        row(median_s=0.25),
        row(engine="eager", median_s=1.0),
        row(engine="onnxruntime", median_s=0.5, run="2"),
        row(engine="openvino", median_s=None, error="no a|b here"),
        row(engine="tvm-stock", median_s=0.1),
        row(engine="tvm-untuned", median_s=0.2),
    ]
    text = as_markdown({**header(), "results": rows})
    (line,) = [line for line in text.splitlines() if line.startswith("| scoring_head | 250.00 |")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1:7] == ["250.00", "1000.00", "0.25", "onnxruntime", "~0.50", "100.00"]
    assert cells[7] == "1.25"  # of our own time without records
    assert "| scoring_head | openvino | - no a/b here |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| scoring_head |")}
    assert len(widths) == 2  # a summary and the details


def test_the_time_by_rule_has_a_table(row, header):
    shares = {"matmul": 0.9, "fallback": 0.1}
    facts = {"unmatched_share": 0.1, "vm_share": 0.02, "packing_s": 1.5}
    rows = [row(kernel_time_share=shares, **facts)]
    text = as_markdown({**header(), "results": rows})
    assert "| scoring_head | float32 | 90.0% | 10.0% | 10.0% | 2.0% | 1.50 |" in text
