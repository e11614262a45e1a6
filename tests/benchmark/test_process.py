"""One process a task: its result, its failure, its end."""

import os
import signal
import threading
import time

import psutil
import pytest

from sam_tvm.benchmark.process import Limits, TaskError, run_task

PATIENCE_S = 60
LIMITS = Limits(seconds=PATIENCE_S, threads=3)


def test_a_result_comes_back_and_threads_are_set(tasks, tmp_path):
    log = tmp_path / "logs" / "add.log"
    assert run_task(tasks.Add((1, 2)), LIMITS, log) == (3, "3", "3")
    assert log.read_text() == "some noise\n"


def test_an_exception_is_one_line_with_its_type(tasks, tmp_path):
    with pytest.raises(TaskError) as caught:
        run_task(tasks.Fail("many\n\nlines " + "x" * 1000), LIMITS, tmp_path / "log")
    message = str(caught.value)
    assert message.startswith("ValueError: many lines xxx")
    assert len(message) <= 300
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_crash_says_when_and_how(tasks, tmp_path):
    with pytest.raises(TaskError, match=r"ended while crashing \(SIGSEGV\): last words"):
        run_task(tasks.Crash(), LIMITS, tmp_path / "log")


def pids(folder) -> list[int]:
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "pids").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def is_gone(pid: int) -> bool:
    """A killed child of a killed process may be left as a zombie, for init to reap."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_all_gone(folder):
    deadline = time.monotonic() + PATIENCE_S
    while not all(map(is_gone, pids(folder))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_task_that_takes_too_long_is_ended_with_its_children(tasks, tmp_path):
    with pytest.raises(TaskError, match=r"did not finish in 5 s \(sleeping\)"):
        run_task(tasks.Sleep(tmp_path), Limits(5, 1), tmp_path / "log")
    assert_all_gone(tmp_path)


def test_an_interrupt_ends_the_task_with_its_children(tasks, tmp_path):
    def interrupt():
        pids(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_task(tasks.Sleep(tmp_path), LIMITS, tmp_path / "log")
    thread.join()
    assert_all_gone(tmp_path)
