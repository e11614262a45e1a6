"""The environment of `sam3d_objects`, and its tiny networks with random weights."""

import pytest
import torch

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.build import BUILDERS
from sam_tvm.models.sam3d.weights import load_component
from sam_tvm.patches.environment import reference_environment


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Hold what `sam3d_objects` needs to build and run."""
    with reference_environment("sam3d"), torch.no_grad():
        yield


@pytest.fixture(scope="module")
def networks(environment):
    """All tiny networks by component, with random weights of seed 0, which no test may change."""
    preset = get_preset("tiny")
    return {name: load_component(name, preset, seed=0)[0].get_submodule(name) for name in BUILDERS}
