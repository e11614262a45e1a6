"""A training small enough to run in seconds."""

from dataclasses import replace

import pytest
import torch

from sam_tvm.models.presets import TINY_SAM3
from sam_tvm.patches.environment import reference_environment
from sam_tvm.training.model import trainable_model
from sam_tvm.training.recipe import Recipe, Stage


@pytest.fixture(scope="session")
def small_config():
    """The trained configuration with the fewest layers that it can have."""
    return replace(
        TINY_SAM3,
        vision_depth=2,
        global_blocks=(1,),
        fusion_layers=1,
        decoder_layers=2,
        text_layers=1,
    )


@pytest.fixture(scope="session")
def small_recipe(small_config):
    """Two stages of small batches; the first ends with its first validation, the last never."""
    dense = Stage("dense", {"colour": 0.0}, batch=2, prompts=2, most_objects=3, learning_rate=1e-3)
    detection = replace(dense, name="detection", gate={"f1": 2.0})
    return Recipe(config=small_config, seed=3, stages=(dense, detection))


@pytest.fixture(scope="module")
def environment():
    """Hold what `sam3` needs to build and run; one thread, as much as such a model can use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with reference_environment():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def small_model(environment, small_config):
    """A model as training starts from it, which no test may change."""
    return trainable_model(small_config, seed=0)
