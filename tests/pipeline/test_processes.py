"""Several processes at once: results, failures, crashes, interrupts."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sam_tvm import components
from sam_tvm.pipeline import processes
from sam_tvm.pipeline.workers import WorkerCall, WorkerError, run_workers
from sam_tvm.runtime.errors import UserError

PATIENCE_SECONDS = 120


@pytest.fixture
def begins(monkeypatch):
    """The module `begins`, which the processes find too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import begins

    yield begins
    sys.modules.pop("begins")


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def nothing(_):
    pass


def test_each_item_has_its_result_and_two_processes_share_them(begins):
    in_work = []
    results = dict(processes.each(begins.doubling, [5, 6, 7], 2, in_work.append))
    assert {index: value for index, (value, _) in results.items()} == {0: 10, 1: 12, 2: 14}
    assert os.getpid() not in {pid for _, pid in results.values()}
    assert in_work[0] == [5, 6]


def test_an_error_is_raised_here_and_ends_the_other_process(begins):
    with pytest.raises(UserError, match="1 will not do"):
        list(processes.each(begins.failing, [1, 2, 3], 2, nothing))
    assert not psutil.Process().children()[1:]  # multiprocessing's own watcher stays


def test_a_crash_is_its_items_result_and_another_process_goes_on(begins):
    results = dict(processes.each(begins.crashing, [0, 1, 2], 1, nothing))
    assert (results[0], results[2]) == (0, 2)
    assert isinstance(results[1], processes.ProcessEndedError)
    assert "-11" in str(results[1])


def test_an_interrupt_ends_all_processes_which_clean_up(begins, tmp_path):
    def pids():
        return [int(text) for file in tmp_path.iterdir() if (text := file.read_text())]

    def interrupt_all():
        wait_for(lambda: len(pids()) == 2)
        for pid in pids():  # as a terminal does
            os.kill(pid, signal.SIGINT)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt_all)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        list(processes.each(begins.Writing(tmp_path), ["a", "b", "c"], 2, nothing))
    thread.join()
    assert list(tmp_path.iterdir()) == []


PARENT = """
import sys
from pathlib import Path
import begins
from sam_tvm.pipeline import processes

if __name__ == "__main__":
    list(processes.each(begins.Writing(Path(sys.argv[1])), ["a"], 1, lambda _: None))
"""


def test_processes_end_with_a_killed_parent(begins, tmp_path):
    script, folder = tmp_path / "parent.py", tmp_path / "files"
    folder.mkdir()
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, script, folder], env=environment) as parent:
        wait_for(lambda: any(file.read_text() for file in folder.iterdir()))
        parent.kill()
    wait_for(lambda: not any(folder.iterdir()))


def test_a_component_is_pickled_by_its_name():
    component = components.component("ss_decoder")
    assert pickle.loads(pickle.dumps(component)) is component
    with pytest.raises(pickle.PicklingError, match="ss_decoder is not the component"):
        pickle.dumps(replace(component, cases=component.cases[:1]))


WORKER = """
import json, pathlib, sys, time
request = json.loads(pathlib.Path(sys.argv[1]).read_text())
if request["fails"]:
    sys.exit(3)
folder = pathlib.Path(request["folder"])
(folder / request["name"]).touch()
deadline = time.monotonic() + 60
while len(list(folder.iterdir())) < request["wanted"] and time.monotonic() < deadline:
    time.sleep(0.01)
assert len(list(folder.iterdir())) >= request["wanted"]
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Make a worker's call; it ends when `wanted` workers have begun."""
    (tmp_path / "meeting_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder = tmp_path / "begun"
    folder.mkdir()

    def make(name, wanted, fails=False):
        request = {"folder": str(folder), "name": name, "wanted": wanted, "fails": fails}
        return WorkerCall("meeting_worker", request)

    return make


def test_workers_run_at_the_same_time(call):
    run_workers([call("a", 2), call("b", 2), call("c", 3)], 2)


def test_a_worker_that_fails_ends_the_others(call):
    with pytest.raises(WorkerError, match="meeting_worker ended with status 3"):
        run_workers([call("a", 9), call("b", 9, fails=True)], 2)
