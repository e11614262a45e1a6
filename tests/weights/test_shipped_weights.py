"""The weights that come with the package: what they are, and when they are used."""

import re
from pathlib import Path

import pytest
from safetensors import safe_open

from sam_tvm.models.presets import PRESETS, SHIPPED_WEIGHTS, TINY
from sam_tvm.models.sam3.checkpoint import PREFIX
from sam_tvm.models.sam3.weights import load_model
from sam_tvm.models.source import WeightsSource, is_random
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.options import add_job_options, job_from_options

FILE = TINY.shipped_weights("sam3")


def parsed(*arguments):
    """The job that arguments describe."""
    import argparse

    parser = argparse.ArgumentParser()
    add_job_options(parser, weights=True, target=False)
    return job_from_options(parser.parse_args(arguments))


def test_they_are_small_and_in_float16_under_the_published_keys():
    assert FILE.stat().st_size <= 20e6
    with safe_open(FILE, "np") as weights:
        keys = list(weights.keys())
        assert all(key.startswith(PREFIX) for key in keys)
        assert {str(weights.get_slice(key).get_dtype()) for key in keys} == {"F16"}


def test_they_fit_the_model_as_any_checkpoint_does():
    with reference_environment():
        _, info = load_model(TINY, FILE)
    assert info.source == FILE.name
    assert not is_random(info.source)
    assert not info.ignored


def test_they_are_used_unless_others_are_asked_for(tmp_path):
    assert Job(TINY).source("sam3") == WeightsSource(FILE)
    assert Job(TINY).source("sam3d") == WeightsSource(None, 0)
    other = tmp_path / "other.pt"
    other.touch()
    assert parsed().source("sam3") == WeightsSource(FILE)
    assert parsed("--seed", "0").source("sam3") == WeightsSource(None, 0)
    assert parsed("--checkpoint", str(other)).source("sam3").checkpoint == other


def test_the_full_preset_has_random_ones():
    assert parsed("--preset", "full").source("sam3") == WeightsSource(None, 0)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_what_a_preset_names_lies_beside_its_card(preset):
    if preset.sam3_weights is not None:
        assert preset.shipped_weights("sam3").is_file()
        card = (SHIPPED_WEIGHTS / "README.md").read_text()
        assert preset.sam3_weights in card
        linked = re.findall(r"\]\(([^)]+)\)", card)
        assert all((SHIPPED_WEIGHTS / Path(name)).exists() for name in linked)
