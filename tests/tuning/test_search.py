"""A real search, and what is judged of what it found."""

import importlib.util
import math
import time

import numpy as np
import pytest

from sam_tvm.models.presets import get_preset
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.tune import Options, Task, tune, tune_function
from sam_tvm.runtime.errors import UserError
from sam_tvm.tuning import search
from sam_tvm.tuning.database import function_key
from sam_tvm.tuning.judge import judge, largest_error

UNCHANGED = [[], []]  # no step at all


@pytest.mark.slow
def test_a_search_goes_on_after_a_kill_and_is_judged(function, target, tmp_path, capfd):
    """A killed run leaves its records, the last one half-written."""
    search.search(function, target, tmp_path, 2, seed=0)
    records = tmp_path / "database_tuning_record.json"
    whole = records.read_text()
    assert search.tried(tmp_path) == 2
    records.write_text(whole + whole.splitlines()[0][:40])
    assert search.tried(tmp_path) == 2
    assert records.read_text() == whole

    task = Task("test.sum", function_key(function), function, "reduction")
    judgement = tune_function(
        task, tmp_path, Options(minutes=9, trials=4), target, time.monotonic() + 540
    )
    assert search.tried(tmp_path) == 4
    assert records.read_text().startswith(whole)
    assert len(search.best(tmp_path, 3)) in (1, 2, 3)
    assert judgement.rule == "reduction"
    assert judgement.rule_ms > 0
    assert (judgement.record is None) == bool(judgement.reason)
    # Judged once: nothing runs again.
    again = tune_function(task, tmp_path, Options(minutes=9, trials=4), target, deadline=0)
    assert again == judgement
    # No time for a candidate that is missing.
    assert tune_function(task, tmp_path, Options(minutes=9, trials=5), target, 0) is None


def test_candidates_that_failed_are_none_of_the_best(tmp_path):
    path = tmp_path / "database_tuning_record.json"
    lines = ['[0, ["slow", [0.2], {}, []]]', '[0, ["failed", [1e10], {}, []]]']
    lines += ['[0, ["fast", [0.1], {}, []]]', '[0, ["untimed", null, {}, []]]']
    path.write_text("\n".join(lines) + "\n")
    assert search.tried(tmp_path) == 4
    assert search.best(tmp_path, 3) == ["fast", "slow"]


def test_loops_that_are_no_faster_or_do_not_compile_give_no_record(function, target, monkeypatch):
    monkeypatch.setattr("sam_tvm.tuning.judge.WIN", 0.0)  # nothing is that fast
    nonsense = [[["GetSBlock", [], ["nowhere", "main"], ["b0"]]], []]
    judgement = judge("test.sum", function, [nonsense, UNCHANGED], target)
    assert judgement.record is None
    assert judgement.reason.startswith("the best takes")
    judgement = judge("test.sum", function, [nonsense], target)
    assert judgement.reason.startswith("does not compile")


@pytest.mark.parametrize(
    ("ours", "error"),
    [
        ([1.0, 4.0, np.nan], 0.0),
        ([1.0, 5.0, np.nan], 0.25),
        ([1.0, np.nan, np.nan], math.inf),
        ([1.0, 4.0, 1.0], math.inf),
    ],
)
def test_errors_are_relative_to_the_largest_value(ours, error):
    expected = [np.array([1.0, 4.0, np.nan])]
    assert largest_error([np.array(ours)], expected) == error


def test_without_what_the_search_needs_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"cloudpickle: pip install 'sam-tvm\[tune\]'"):
        tune(Job(get_preset("tiny")), Options(minutes=1))
