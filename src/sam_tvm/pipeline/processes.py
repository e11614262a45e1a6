"""Work spread over processes: most of what the port does holds one core and Python's lock.

A process sets itself up once, then works on one item after another. An interrupt ends all of them:
they leave it to this process, which ends them and waits until each has cleaned up after itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from sam_tvm.interrupts import delivered

# Sets a process up, and returns within its scope what works on one item.
Begin = Callable[[], contextlib.AbstractContextManager[Callable[[Any], Any]]]

_CONTEXT = multiprocessing.get_context("spawn")  # a fork would lack the threads of torch and TVM


class ProcessEndedError(Exception):
    """A process ended in the middle of an item: a crash, or the system ended it."""


@dataclass
class _Process:
    """A process, the pipe to it, and which item it works on; None: none."""

    process: BaseProcess
    pipe: Connection
    index: int | None = None


def each(
    begin: Begin, items: Sequence[Any], count: int, started: Callable[[list[Any]], None]
) -> Iterator[tuple[int, Any]]:
    """Work on the items in up to `count` processes.

    Args:
        begin: sets a process up; it, the items and the results are pickled.
        items: handed out from the first to the last.
        count: of processes.
        started: told which items are in work whenever that changes.

    Yields:
        An item's index and its result, as they come: a `ProcessEndedError` where its process did
        not survive it.

    Raises:
        Exception: what the work raised; the other processes are ended then.
    """
    waiting = list(enumerate(items))[::-1]
    team: list[_Process] = []
    try:
        team += [_start(begin) for _ in range(min(count, len(items)))]
        for member in team:
            _hand_out(member, waiting)
        while busy := [member for member in team if member.index is not None]:
            started([items[member.index] for member in busy if member.index is not None])
            ready = wait([member.pipe for member in busy])
            for member in [member for member in busy if member.pipe in ready]:
                assert member.index is not None
                index, result = member.index, _result(member)
                if isinstance(result, ProcessEndedError):
                    team.remove(member)
                    if waiting:
                        team.append(member := _start(begin))
                _hand_out(member, waiting)
                yield index, result
    finally:
        _end(team)


def _start(begin: Begin) -> _Process:
    """A process that has begun. It ignores the terminal's interrupts, as it inherits here."""
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_serve, args=(theirs, begin), daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Process(process, ours)


def _hand_out(member: _Process, waiting: list[tuple[int, Any]]) -> None:
    """Give a process the next item, if there is one."""
    member.index = None
    if waiting:
        member.index, item = waiting.pop()
        with contextlib.suppress(BrokenPipeError):  # it has ended, which is seen when it is read
            member.pipe.send(item)


def _result(member: _Process) -> Any:
    """What a process made of its item; raises what that raised."""
    try:
        succeeded, result = member.pipe.recv()
    except (EOFError, ConnectionResetError):
        member.process.join()
        return ProcessEndedError(f"its process ended with status {member.process.exitcode}")
    if not succeeded:
        raise result
    return result


def _end(team: list[_Process]) -> None:
    """End the processes, and wait until they have cleaned up."""
    for member in team:
        member.pipe.close()  # one that waits for an item ends by itself
        if member.index is not None:
            member.process.terminate()
    for member in team:
        member.process.join()


def _serve(pipe: Connection, begin: Begin) -> None:
    """Work on the items that come through the pipe; runs in a process of its own."""
    from sam_tvm.pipeline.quiet import silence_harmless_warnings

    # Unwind: temporary files go. TVM hands KeyboardInterrupt on as it is, and SystemExit not.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silence_harmless_warnings()
    with (
        # Nobody reads the result of what was interrupted, or the parent has gone.
        contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError),
        delivered(signal.SIGTERM),
    ):
        try:
            with begin() as work:
                while True:
                    pipe.send((True, work(pipe.recv())))
        except Exception as error:
            if isinstance(error, EOFError | BrokenPipeError):
                raise
            pipe.send((False, error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
