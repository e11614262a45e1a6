"""How many threads TVM's loops run on."""

from __future__ import annotations

import os

import tvm

from sam_tvm.runtime.cpus import available_cpus

VARIABLE = "TVM_NUM_THREADS"
_BINDING = "TVM_BIND_THREADS"
_BIG_CORES = 1  # TVM's affinity mode that prefers the faster cores


def allow_all_cpus() -> None:
    """Let TVM use every processor, unless the environment says how many (TVM_NUM_THREADS).

    Left alone it takes half of them, as if two always shared a core. It looks at the variable when
    it first runs a loop in parallel; afterwards this has no effect.

    Nor does it bind threads to processors: a bound thread that finds the calling one on its
    processor waits there for the system's next tick, while another processor is idle.
    """
    os.environ.setdefault(VARIABLE, str(available_cpus()))
    os.environ.setdefault(_BINDING, "0")


def set_threads(count: int) -> None:
    """Let TVM use at most `count` threads for calls from the current thread.

    It never uses more than the machine has, nor more than TVM_NUM_THREADS allows.

    Raises:
        ValueError: if `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    allow_all_cpus()
    tvm.get_global_func("runtime.config_threadpool")(_BIG_CORES, count)


def threads_in_use() -> int:
    """How many threads TVM's loops run on when the current thread calls."""
    return tvm.get_global_func("runtime.NumThreads")()
