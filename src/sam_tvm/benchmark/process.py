"""Running a task in a process of its own, for a limited time.

A task is a picklable object whose method ``run(phase)`` returns a picklable result; it calls
``phase(text)`` with what it is about to do, which is told if the time runs out. Its module is
imported in that process (`worker`) and should import what is heavy inside of `run` alone.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

WORKER = "sam_tvm.benchmark.worker"

Phase = Callable[[str], None]


class Task(Protocol):
    """What `run_task` runs."""

    def run(self, phase: Phase) -> Any:
        """Do the work and return its result."""


class TaskError(Exception):
    """A task did not end with a result; the message says why in one line."""


@dataclass(frozen=True)
class Limits:
    """What a process may use.

    Attributes:
        seconds: time for everything, loading included.
        threads: for every engine alike.
    """

    seconds: float
    threads: int

    def environment(self) -> dict[str, str]:
        """Environment variables by which libraries are told the number of threads."""
        names = ("TVM_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        return dict.fromkeys(names, str(self.threads))


def run_task(task: Task, limits: Limits, log: Path, **environment: str) -> Any:
    """Run `task` in a fresh process and return its result.

    The process, and all that it started, is gone afterwards, whatever happened; an interrupt of
    this one ends it too.

    Args:
        task: what to run.
        limits: time and threads.
        log: file for what the process prints.
        environment: further variables.

    Raises:
        TaskError: if it raised, crashed or did not finish in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as output:
        request = Path(folder)
        (request / "task").write_bytes(pickle.dumps((task, limits.seconds)))
        command = [sys.executable, "-m", WORKER, folder]
        variables = {**os.environ, **limits.environment(), **environment}
        with _own_session(command, variables, output) as process:
            try:
                status = process.wait(limits.seconds)
            except subprocess.TimeoutExpired:
                reason = f"did not finish in {limits.seconds:g} s ({_phase(request)})"
                raise TaskError(reason) from None
        if status:
            raise TaskError(_why_crashed(status, request, log))
        succeeded, result = pickle.loads((request / "result").read_bytes())
    if not succeeded:
        raise TaskError(result)
    return result


@contextlib.contextmanager
def _own_session(
    command: list[str], variables: dict[str, str], output: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process out of reach of the terminal's interrupts, and the end of all its descendants."""
    process = subprocess.Popen(
        command, env=variables, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _phase(folder: Path) -> str:
    path = folder / "phase"
    return path.read_text(encoding="utf-8") if path.exists() else "starting"


def _why_crashed(status: int, folder: Path, log: Path) -> str:
    """One line on a process that ended without a result."""
    how = f"status {status}"
    if status < 0:
        how = signal.Signals(-status).name
        how += ", out of memory?" if -status == signal.SIGKILL else ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"ended while {_phase(folder)} ({how})" + (f": {lines[-1]}" if lines else "")
