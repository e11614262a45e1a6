"""Interrupted and killed stages leave nothing half-made, and a run after them succeeds."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import tvm

from sam_tvm import components
from sam_tvm.console import run
from sam_tvm.pipeline import commands, export, passes, reference
from sam_tvm.pipeline.workers import WorkerCall, run_workers

ONLY = ("scoring_head", "text_encoder")  # exported fastest
PATIENCE_SECONDS = 120


def wait_for(condition):
    """Poll until `condition` returns something true, and return that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


@pytest.fixture
def exporting(repository, tmp_path):
    """Start scripts/01_export.py; returns the process and its fresh staging folder."""
    processes = []

    def start(known: set[Path]) -> tuple[subprocess.Popen, Path]:
        script, artifacts = repository / "scripts" / "01_export.py", tmp_path / "artifacts"
        # With more processes it is they that hold the folder, and clean up after a killed parent.
        command = [sys.executable, script, "--artifacts", artifacts, "--processes", "1"]
        command += ["--only", *ONLY]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)

        def staging():
            assert process.poll() is None
            return set(artifacts.glob(f"*/*/.{export.STAGE}.*")) - known

        return process, wait_for(staging).pop()

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_export_is_killed_then_interrupted_then_succeeds(
    exporting, run_script, job, tmp_path, contents
):
    process, stale = exporting(known=set())
    process.kill()
    process.communicate()
    assert stale.is_dir()

    process, staging = exporting(known={stale})
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 2
    assert output == ""
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert not stale.exists()
    assert not staging.exists()
    assert contents(tmp_path) == {}

    artifacts = tmp_path / "artifacts"
    assert run_script("01_export.py", "--artifacts", str(artifacts), "--only", *ONLY) == 0
    job = replace(job, artifacts=artifacts)
    for component in components.select(ONLY):
        assert job.store(component).file(export.STAGE, export.EXPORTED, "").is_file()
    names = {Path(name).name for name in contents(tmp_path)}
    assert names == {"exported.pt2", "manifest.json"}


def test_interrupt_inside_tvms_callbacks_stops_the_build(copied, contents, capfd, monkeypatch):
    """TVM turns an exception of a pass written in Python into one of its own."""
    job = replace(copied(*ONLY), components=components.select(ONLY))
    for library in job.folder.glob("*/*/lib-*.so"):
        library.unlink()
    interrupting = tvm.transform.module_pass(
        lambda *_: signal.raise_signal(signal.SIGINT), opt_level=0
    )
    monkeypatch.setattr(passes.default, "passes", lambda _: [interrupting])
    before = contents(job.artifacts)
    assert run(lambda: commands.build(job)) == 2
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert contents(job.artifacts) == before


WORKER = """
import pathlib, signal, sys, time
from sam_tvm.pipeline.reference_worker import end_in_order
end_in_order()
pathlib.Path("ready").touch()
try:
    time.sleep(600)
finally:
    pathlib.Path("ended").touch()
"""


@pytest.fixture
def sleeping(tmp_path, monkeypatch):
    """The call of a worker that sleeps, and says in files when it begins and ends."""
    (tmp_path / "sleeping_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.chdir(tmp_path)
    return WorkerCall("sleeping_worker", {})


def test_a_worker_ends_quietly_with_an_interrupted_run(sleeping, tmp_path, capfd):
    """A terminal interrupts both processes at once."""

    def interrupt_both():
        wait_for((tmp_path / "ready").exists)
        this = psutil.Process()
        for process in (*this.children(), this):
            process.send_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt_both)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_workers([sleeping], 1)
    thread.join()
    assert (tmp_path / "ended").exists()
    assert capfd.readouterr().err == ""


def test_a_worker_ends_with_a_run_that_is_terminated(sleeping, tmp_path, capfd):
    """`kill` reaches the run alone, and not its workers."""

    def terminate():
        wait_for((tmp_path / "ready").exists)
        psutil.Process().send_signal(signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    assert run(lambda: run_workers([sleeping], 1)) == 2
    thread.join()
    assert (tmp_path / "ended").exists()
    assert capfd.readouterr().err == "interrupted\n"


def test_cases_of_an_interrupted_reference_are_not_taken_for_former_ones(copied, monkeypatch):
    """The worker had other weights, and has overwritten some cases."""
    job = copied("reference")
    other = replace(job, seed=1, components=components.select(["scoring_head"]))

    def interrupted_workers(*_):
        raise KeyboardInterrupt

    reference.ask(job, other.components, "float32")  # is there
    monkeypatch.setattr(reference, "run_workers", interrupted_workers)
    with pytest.raises(KeyboardInterrupt):
        reference.ask(other, other.components, "float32")
    with pytest.raises(KeyboardInterrupt):  # asks the worker again
        reference.ask(job, other.components, "float32")
