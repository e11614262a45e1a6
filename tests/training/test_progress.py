"""What a training says of its last steps."""

import math

import pytest

from sam_tvm.training.progress import Recent


def test_steps_of_two_stages_are_averaged_each_over_its_own():
    recent = Recent()
    for figures in ({"loss": 4.0, "shape": 0.5}, {"loss": 2.0, "score": 1.0}):
        recent.add(figures)
    assert recent.means() == pytest.approx({"loss": 3.0, "shape": 0.5, "score": 1.0})


def test_figures_that_a_step_could_not_have_are_left_out():
    recent = Recent()
    for value in (math.nan, 0.25):
        recent.add({"alignment": value, "never": math.nan})
    means = recent.means()
    assert means["alignment"] == 0.25
    assert math.isnan(means["never"])


def test_means_begin_anew_after_they_were_read():
    recent = Recent()
    recent.add({"loss": 1.0})
    recent.means()
    recent.add({"loss": 3.0})
    assert recent.means() == {"loss": 3.0}
