"""The reference's environment, and a tiny model."""

import pytest
import torch

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3.weights import load_model
from sam_tvm.patches.environment import reference_environment


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Hold what `sam3` needs to build and run."""
    with reference_environment(), torch.no_grad():
        yield


@pytest.fixture(scope="module")
def tiny(environment):
    """Return the tiny model with random weights of seed 0, which no test may change."""
    model, _ = load_model(get_preset("tiny"), seed=0)
    return model
