"""The declarations against the real sam3 modules at the tiny preset."""

import importlib

import pytest

from sam_tvm import components
from sam_tvm.models.presets import get_preset
from sam_tvm.models.subtree import prune
from sam_tvm.patches.environment import reference_environment

PRESET = get_preset("tiny")


@pytest.fixture(scope="module")
def model():
    from sam_tvm.models.sam3.weights import load_model

    with reference_environment():
        yield load_model(PRESET)[0]


@pytest.mark.parametrize("component", components.components("sam3"), ids=lambda c: c.name)
def test_reference_class_is_that_of_the_first_module(model, component):
    module, _, name = component.reference.rpartition(".")
    reference = getattr(importlib.import_module(module), name)
    assert isinstance(model.get_submodule(component.modules[0]), reference)


def test_components_cover_every_parameter_of_the_image_model(model):
    covered = {
        name
        for component in components.components("sam3")
        for name, _ in prune(model, component.modules).named_parameters()
    }
    assert covered == {name for name, _ in model.named_parameters()}


def test_pruned_model_shares_parameters_under_their_names(model):
    pruned = prune(model, ("dot_prod_scoring", "transformer.decoder.bbox_embed"))
    whole = dict(model.named_parameters())
    parts = dict(pruned.named_parameters())
    assert parts
    assert all(whole[name] is parameter for name, parameter in parts.items())
    assert type(pruned) is type(model)
    assert "transformer.encoder.layers.0.norm1.weight" in whole  # the model itself is untouched


def test_pruning_an_unknown_path_fails(model):
    with pytest.raises(AttributeError):
        prune(model, ("transformer.nonsuch",))
