"""TVM's loops run on every processor that the process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sam_tvm.runtime.threads import VARIABLE, available_cpus, set_threads, threads_in_use

# Prints how many threads a parallel loop really has.
COUNT = """
from sam_tvm.runtime.threads import allow_all_cpus
allow_all_cpus()
import tvm
print(tvm.get_global_func("runtime.NumThreads")())
"""


def threads_of_a_fresh_process(**environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(process.stdout.split()[-1])


def test_all_processors_are_used():
    assert threads_of_a_fresh_process() == available_cpus()


def test_the_environment_has_the_last_word():
    assert threads_of_a_fresh_process(**{VARIABLE: "1"}) == 1


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        set_threads(0)


def test_what_a_thread_may_use_is_what_it_was_given():
    before = threads_in_use()
    set_threads(1)
    try:
        assert threads_in_use() == 1
    finally:
        set_threads(before)
    assert threads_in_use() == before
