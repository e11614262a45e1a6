"""The dense components against the real networks at the tiny preset."""

import importlib

import numpy as np
import pytest
import torch

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.weights import load_component
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline.export import export_program

PRESET = get_preset("tiny")
DENSE = components.select(
    ["ss_condition_embedder", "slat_condition_embedder", "ss_generator", "ss_decoder"]
)
COMPONENTS = pytest.mark.parametrize("component", DENSE, ids=lambda component: component.name)


@pytest.fixture(scope="module", autouse=True)
def environment():
    with reference_environment("sam3d"), torch.no_grad():
        yield


@pytest.fixture(scope="module")
def models(environment):
    return {part.name: load_component(part.name, PRESET, seed=0)[0] for part in DENSE}


def _inputs(component) -> list[torch.Tensor]:
    arrays = make_inputs(component, PRESET.sam3d, component.cases[0])
    return [torch.from_numpy(array) for array in arrays.values()]


@COMPONENTS
def test_reference_class_is_that_of_the_network(models, component):
    module, _, name = component.reference.rpartition(".")
    reference = getattr(importlib.import_module(module), name)
    assert isinstance(models[component.name].get_submodule(component.modules[0]), reference)


@COMPONENTS
def test_outputs_are_as_declared_and_depend_on_every_input(models, component):
    model, inputs = models[component.name], _inputs(component)
    specs = component.signature(PRESET.sam3d).outputs
    outputs = component.call(model, *inputs)
    assert [tuple(output.shape) for output in outputs] == [spec.shape for spec in specs]
    assert all(output.isfinite().all() for output in outputs)
    for position in range(len(inputs)):
        changed = list(inputs)
        changed[position] = inputs[position].flip(-1) * 0.5
        others = component.call(model, *changed)
        assert not all(map(torch.equal, others, outputs)), f"input {position} changes nothing"


@COMPONENTS
def test_program_computes_what_the_network_does(models, component):
    """On other values than those that it was exported with, missing points among them."""
    program = export_program(component, PRESET.sam3d, models[component.name])
    inputs = [tensor.flip(-1) for tensor in _inputs(component)]
    expected = component.call(models[component.name], *inputs)
    actual = program.module()(*inputs)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-5)


def test_pointmaps_of_the_case_have_missing_points():
    component = components.select(["ss_condition_embedder"])[0]
    inputs = make_inputs(component, PRESET.sam3d, component.cases[0])
    for name in ("pointmap", "rgb_pointmap"):
        missing = np.isnan(inputs[name])
        assert 0.3 < missing.mean() < 0.95
        assert (missing.all(axis=1) == missing.any(axis=1)).all()
    assert set(np.unique(inputs["mask"])) == {0.0, 1.0}
