"""How long each function of a library takes in one run of the virtual machine.

TVM 0.27 has no profiler for the Relax VM, but calls a function before and after each call
instruction. That costs a few microseconds a call, which the smallest kernels are charged with.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]


class KernelClock:
    """Adds up the seconds of each called function, without those of what it calls in turn."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._open: list[tuple[float, float]] = []  # start, seconds of calls inside
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def __call__(self, _function: Any, name: str, before_run: bool, _result: Any, *_: Any) -> int:
        """Take the time; 0 lets the machine go on."""
        if before_run:
            self._open.append((self._clock(), 0.0))
            return 0
        started, inside = self._open.pop()
        took = self._clock() - started
        self._seconds[str(name)] += took - inside
        if self._open:
            outer, sum_inside = self._open[-1]
            self._open[-1] = outer, sum_inside + took
        return 0

    def take(self) -> dict[str, float]:
        """Seconds by function since the last time, and start anew."""
        seconds = dict(self._seconds)
        self._seconds.clear()
        return seconds


def kernel_times(machine: Any, call: Callable[[], Any]) -> dict[str, float]:
    """Seconds of each function in one call that runs on `machine`, after one to warm up.

    Args:
        machine: a `tvm.runtime.vm.VirtualMachine`, which keeps the instrument.
        call: runs a function of it.
    """
    clock = KernelClock()
    machine.set_instrument(clock)
    call()
    clock.take()
    call()
    return clock.take()
