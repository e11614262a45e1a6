"""Running worker modules, which answer a request in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# spconv's CPU kernels are right only where OpenMP never had more than one thread.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
_POLL_SECONDS = 0.05


class WorkerError(Exception):
    """A worker process ended without a result."""


@dataclass(frozen=True)
class WorkerCall:
    """What a worker is asked.

    Attributes:
        module: what is run as ``python -m``.
        request: for the worker, as JSON.
        environment: variables that it gets beside ours.
    """

    module: str
    request: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


def run_workers(calls: Sequence[WorkerCall], count: int) -> None:
    """Run workers, up to `count` at once, their progress on our stderr.

    Raises:
        WorkerError: if one ends with a non-zero status; the others are ended then.
    """
    waiting = list(enumerate(calls))[::-1]
    lines = list(range(count))[::-1]  # of the terminal, for the progress bars
    running: dict[int, tuple[subprocess.Popen[bytes], WorkerCall]] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < count:
                    index, call = waiting.pop()
                    path, line = Path(folder) / f"request-{index}.json", lines.pop()
                    path.write_text(json.dumps(call.request), encoding="utf-8")
                    running[line] = _start(call, path, line), call
                for line in _ended(running):
                    process, call = running.pop(line)
                    lines.append(line)
                    if process.returncode:
                        raise WorkerError(f"{call.module} ended with status {process.returncode}")
        finally:
            _end([process for process, _ in running.values()])


def _start(call: WorkerCall, request: Path, line: int) -> subprocess.Popen[bytes]:
    """The worker's process.

    The terminal interrupts both processes: the worker ignores it, as it inherits here, and is
    ended by this one.
    """
    environment = {
        **os.environ,
        **call.environment,
        **({"TQDM_POSITION": str(line)} if line else {}),
    }
    command = [sys.executable, "-m", call.module, str(request)]
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.Popen(command, env=environment)
    finally:
        signal.signal(signal.SIGINT, handler)


def _ended(running: Mapping[int, tuple[subprocess.Popen[bytes], WorkerCall]]) -> list[int]:
    """The lines of processes that have ended: waits for the first."""
    while True:
        if ended := [line for line, (process, _) in running.items() if process.poll() is not None]:
            return ended
        if len(running) == 1:
            ((process, _),) = running.values()
            process.wait()
        else:
            time.sleep(_POLL_SECONDS)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(KeyboardInterrupt):  # it cleans up
            process.wait()
