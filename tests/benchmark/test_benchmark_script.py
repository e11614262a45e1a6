"""The script on one small component, its real processes included."""

import json
from dataclasses import replace

import pytest

from sam_tvm import components
from sam_tvm.benchmark import engines, run
from sam_tvm.benchmark.cases import timed_case
from sam_tvm.benchmark.process import TaskError
from sam_tvm.benchmark.sources import onnx_store
from sam_tvm.cli import main
from sam_tvm.pipeline import files
from sam_tvm.pipeline.todo import component_cells

SCRIPT, SMALL = "benchmark_components.py", "scoring_head"
SHORT = ("--rounds", "1", "--threads", "1", "--budget", "0.01")


def rows(job) -> dict[tuple[str, str], dict]:
    report = json.loads((job.folder / "benchmark_report.json").read_text())
    return {(row["engine"], row["precision"]): row for row in report["results"]}


@pytest.fixture
def arguments(copied):
    """The job of a copy of the component, and the options that ask for it."""
    job = copied(SMALL, "reference")
    return job, ("--artifacts", str(job.artifacts), "--only", SMALL, *SHORT)


def test_tvm_and_eager_are_timed_and_an_engine_that_is_missing_is_a_row(
    arguments, run_script, capsys, monkeypatch
):
    job, options = arguments
    missing = replace(engines.ENGINES["openvino"], packages=("no_such_package",))
    monkeypatch.setitem(engines.ENGINES, "openvino", missing)
    monkeypatch.delenv("COLUMNS", raising=False)  # a width that would cut the bar's text off
    assert run_script(SCRIPT, *options, "--against", "eager", "openvino") == 0
    output = capsys.readouterr()
    assert f"benchmark {SMALL}: tvm float32 " in output.out
    assert f"{SMALL} eager float32 round 1/1" in output.err
    found = rows(job)
    component = components.select([SMALL])[0]
    for name in ("tvm", "eager"):
        row = found[name, "float32"]
        assert row["error"] is None
        assert 0 < row["median_s"] <= row["p95_s"] <= row["p99_s"]
        assert row["runs"] >= 3
        assert row["throughput_per_s"] == pytest.approx(1 / row["mean_s"])
        assert 0.01 < row["peak_rss_gb"] < 10
        assert row["gflops"] == pytest.approx(row["flops"] / row["median_s"] / 1e9)
        assert row["max_abs_error"] < 1e-4
        assert row["case"] == timed_case(component, 7).name == "one_prompt"
    assert found["tvm", "float32"]["flops"] == found["eager", "float32"]["flops"] > 1_000_000
    assert found["eager", "float32"]["max_abs_error"] == 0.0
    shares = found["tvm", "float32"]["kernel_time_share"]
    assert sum(shares.values()) == pytest.approx(1)
    assert "no_such_package not installed" in found["openvino", "float32"]["error"]
    assert component_cells(job, component)[-1] == "x"
    assert "openvino | - " in (job.folder / "benchmark_report.md").read_text()
    assert not list(job.folder.glob(".benchmark.*"))


@pytest.fixture
def without_processes(monkeypatch):
    """Let every process fail with a message that names its task."""

    def run_task(task, *_, **__):
        raise TaskError(f"no process for {type(task).__name__}")

    for module in ("run", "bench", "sources"):
        monkeypatch.setattr(f"sam_tvm.benchmark.{module}.run_task", run_task)


def forget_builds(store, precision: str) -> None:
    """Let the component be as before it was built in a precision."""
    manifest = store.manifest
    stages = {name: each for name, each in manifest["stages"].items() if precision not in name}
    files.write_json(store.folder / "manifest.json", {**manifest, "stages": stages})


def test_failures_are_rows_and_only_ours_fail_the_run(
    arguments, run_script, without_processes, capsys
):
    job, options = arguments
    forget_builds(job.store(components.select([SMALL])[0]), "bfloat16")
    assert run_script(SCRIPT, *options, "--precision", "float32", "bfloat16") == 1
    found = rows(job)
    assert len(found) == 2 * len(engines.ENGINES)
    assert found["eager", "float32"]["error"] == "no process for Measure"
    assert found["tvm", "float32"]["error"] == "no process for Measure"
    assert found["tvm-stock", "float32"]["error"] == "no process for BuildOtherwise"
    assert found["onnxruntime", "bfloat16"]["error"] == "no bfloat16 kernels for the CPU"
    assert "run scripts/03_build.py" in found["tvm", "bfloat16"]["error"]
    assert all(row["median_s"] is None for row in found.values())
    assert "the machine's peak is not known" in capsys.readouterr().out
    assert component_cells(job, components.select([SMALL])[0])[-1] == "failed"


def test_an_interrupt_leaves_the_former_report_and_nothing_half_written(
    arguments, run_script, without_processes, contents, monkeypatch, capsys
):
    job, options = arguments
    run_script(SCRIPT, *options)
    before = contents(job.artifacts)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_task", interrupted)
    capsys.readouterr()
    assert run_script(SCRIPT, *options) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    assert contents(job.artifacts) == before


def test_engines_that_read_onnx_agree_with_pytorch(arguments, run_script):
    names = [
        name
        for name, engine in engines.ENGINES.items()
        if engine.onnx and not engine.why_not("float32")
    ]
    if not names:
        pytest.skip("neither ONNX Runtime nor OpenVINO is installed: they are in the bench extra")
    job, options = arguments
    assert run_script(SCRIPT, *options, "--against", *names) == 0
    for name in names:
        row = rows(job)[name, "float32"]
        assert row["error"] is None
        assert row["max_abs_error"] < 1e-4
    model = onnx_store(job, components.select([SMALL])[0]).folder / "model.onnx"
    assert model.is_file()
    assert run_script(SCRIPT, *options, "--against", "--drop") == 0
    assert not model.exists()
    assert rows(job)[names[0], "float32"]["error"] is None  # of the former run


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "nose"), "no component 'nose'; known components: end_to_end"),
        (("--preset", "huge"), "no preset 'huge'"),
        (("--against", "tensorrt"), "no engine 'tensorrt'; known engines: tvm"),
        (("--precision", "int8"), "no precision 'int8'; known precisions: float32"),
        (("--precision", "float16"), "has no float16 kernels: use --precision float32"),
        (("--target", "abacus"), "no target 'abacus'"),
        (("--rounds", "0"), "--rounds must be at least 1"),
        (("--threads", "-1"), "--threads must be at least 1"),
        (("--budget", "nan"), "--budget must be a positive number"),
        (("--voxels", "50000"), "--voxels must be from 1 to 42000"),
        (("--timeout", "0"), "--timeout must be a positive number"),
        (("--rounds", "many"), "invalid int value: 'many'"),
        ((), "run scripts/01_export.py first"),
    ],
)
@pytest.mark.parametrize("entry", ["script", "command"])
def test_what_cannot_be_used_is_one_line(
    run_script, tmp_path, contents, capsys, entry, options, message
):
    options = ("--artifacts", str(tmp_path / "artifacts"), *options)
    status = run_script(SCRIPT, *options) if entry == "script" else main(["benchmark", *options])
    output, errors = capsys.readouterr()
    assert status == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert contents(tmp_path) == {}
