"""No interrupt is lost, wherever Python raises it."""

import signal
import sys
import time
import weakref

import pytest

from sam_tvm.console import run
from sam_tvm.interrupts import delivered


class Dropped:
    """Its finalizer is where the interrupt arrives."""

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def interrupt_in_a_finalizer():
    dropped = Dropped()
    del dropped


def interrupt_in_a_weak_references_callback():
    target = set()
    reference = weakref.ref(target, lambda _: signal.raise_signal(signal.SIGINT))
    del target
    assert reference() is None


@pytest.mark.parametrize(
    "interrupt", [interrupt_in_a_finalizer, interrupt_in_a_weak_references_callback]
)
def test_an_interrupt_that_python_drops_still_ends_the_command(interrupt, capsys):
    def main() -> int:
        interrupt()
        time.sleep(10)
        return 0

    started = time.monotonic()
    assert run(main) == 2
    assert time.monotonic() - started < 5
    assert capsys.readouterr().err == "interrupted\n"


def test_a_dropped_interrupt_ends_a_command_that_is_already_done(capsys):
    def main() -> int:
        interrupt_in_a_finalizer()
        return 0

    assert run(main) == 2
    assert capsys.readouterr().err == "interrupted\n"
    time.sleep(0.1)  # nothing comes after it


def test_other_errors_in_finalizers_go_where_they_went(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    class Failing:
        def __del__(self):
            raise ValueError("in a finalizer")

    with delivered():
        Failing()
    assert [entry.exc_type for entry in seen] == [ValueError]
    assert sys.unraisablehook == seen.append
