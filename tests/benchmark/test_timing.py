"""How often steps run, and what is said of their times."""

import numpy as np
import pytest

from sam_tvm.benchmark.timing import MAX_RUNS, MIN_RUNS, summarise, time_steps, warm_up


class Machine:
    """A clock that only steps move."""

    def __init__(self, **durations: float) -> None:
        self.now, self.calls = 0.0, []
        self.steps = {name: self._step(name, seconds) for name, seconds in durations.items()}

    def _step(self, name, seconds):
        def step():
            self.calls.append(name)
            self.now += seconds

        return step

    def clock(self):
        return self.now


def test_slow_steps_run_the_fewest_times_and_are_timed_apart():
    machine = Machine(first=10.0, second=1.0)
    assert time_steps(machine.steps, 5.0, machine.clock) == {
        "first": [10.0] * MIN_RUNS,
        "second": [1.0] * MIN_RUNS,
    }
    assert machine.calls == ["first", "second"] * MIN_RUNS


def test_steps_run_until_the_budget_is_spent():
    machine = Machine(step=0.25)
    assert time_steps(machine.steps, 5.0, machine.clock)["step"] == [0.25] * 20


def test_fast_steps_stop_at_the_most_runs():
    machine = Machine(step=0.0)
    assert len(time_steps(machine.steps, 5.0, machine.clock)["step"]) == MAX_RUNS


@pytest.mark.parametrize(
    ("seconds", "fewest", "runs"), [(1.0, 1, 2), (3.0, 1, 1), (3.0, 3, 3), (0.1, 3, 3)]
)
def test_warm_up_runs_twice_but_slow_steps_as_rarely_as_they_may(seconds, fewest, runs):
    machine = Machine(step=seconds)
    warm_up(machine.steps, 4.0, fewest, machine.clock)
    assert machine.calls == ["step"] * runs


def test_summary_against_numpy():
    seconds = np.random.default_rng(0).exponential(1.0, 997)
    summary = summarise(seconds.tolist())
    ranked = np.sort(seconds)
    assert summary["mean_s"] == pytest.approx(seconds.sum() / 997)
    assert summary["median_s"] == ranked[498]
    assert ranked[945] <= summary["p95_s"] <= ranked[947]
    assert ranked[985] <= summary["p99_s"] <= ranked[987]
    assert summary["throughput_per_s"] == pytest.approx(997 / seconds.sum())
    assert summary["runs"] == 997
