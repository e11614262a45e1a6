"""The processors that this process may run on."""

from __future__ import annotations

import os


def available_cpus() -> int:
    """Number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
