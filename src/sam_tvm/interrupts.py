"""An interrupt ends the run, wherever it arrives."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_DELAY_SECONDS = 0.01  # long enough to have left the callback that swallowed the first


@contextmanager
def delivered(number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """Deliver again each interrupt that Python drops.

    A KeyboardInterrupt that happens to be raised inside a finalizer or a weak reference's callback
    is printed and forgotten. torch.export drops thousands of weak references: of interrupts at
    random moments of an export, 3 in 100 were lost.

    Args:
        number: the signal that interrupts this process.

    Raises:
        KeyboardInterrupt: in the block as usual; at its end, if the block ended first.
    """
    former = sys.unraisablehook
    again: list[threading.Timer] = []

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            former(dropped)
            return
        again.append(threading.Timer(_DELAY_SECONDS, _interrupt_once))
        again[-1].start()

    def _interrupt_once() -> None:
        again.clear()
        main_thread = threading.main_thread().ident
        assert main_thread is not None  # it runs
        signal.pthread_kill(main_thread, number)  # also ends a system call that waits

    sys.unraisablehook = hook
    try:
        yield
        if again:
            raise KeyboardInterrupt
    finally:
        sys.unraisablehook = former
        for timer in again:
            timer.cancel()


@contextmanager
def terminations() -> Iterator[None]:
    """Let SIGTERM, which ``kill`` and whoever stops a container send, be an interrupt.

    A process that dies of it leaves its workers at work and its temporary files behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
