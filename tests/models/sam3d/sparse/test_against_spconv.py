"""The modules on tensors alone equal `sam3d_objects`' classes on spconv, on irregular voxels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from spconv_outputs import NAMES, component_of, inputs_of, model_of

from sam_tvm.models.referee import float64_evaluation
from sam_tvm.patches.environment import reference_environment


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Return the reference's outputs by component, precision and number."""
    path = tmp_path_factory.mktemp("spconv") / "outputs.npz"
    script = Path(__file__).with_name("spconv_outputs.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, path], check=True, env=environment)
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(autouse=True)
def sam3d():
    with reference_environment("sam3d"), torch.no_grad():
        yield


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_reference(name, reference):
    component, model, inputs = component_of(name), model_of(name), inputs_of(name)
    outputs = component.tensor_only(model)(*inputs.values())
    expected = [reference[f"{name}/float32/{number}"] for number in range(len(outputs))]
    assert f"{name}/float32/{len(outputs)}" not in reference
    for output, array in zip(outputs, expected, strict=True):
        assert array.std() > 0.01
        # Both round on their own: the scale of a tensor is that of its largest number.
        np.testing.assert_allclose(output, array, rtol=1e-5, atol=3e-6 * np.abs(array).max())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_the_reference_in_float64(name, reference):
    component, model = component_of(name), model_of(name)
    inputs = [x.double() if x.is_floating_point() else x for x in inputs_of(name).values()]
    module = component.tensor_only(model)
    with float64_evaluation(module):
        outputs = module(*inputs)
    for number, output in enumerate(outputs):
        array = reference[f"{name}/float64/{number}"]
        np.testing.assert_allclose(output, array, rtol=1e-10, atol=1e-10 * np.abs(array).max())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_reference_s_under_their_names(name):
    model = model_of(name)
    module = component_of(name).tensor_only(model)
    whole = dict(model.named_parameters())
    assert whole.keys() == dict(module.named_parameters()).keys()
    assert all(whole[key] is value for key, value in module.named_parameters())


@pytest.mark.parametrize("name", NAMES)
def test_class_is_the_declared_one(name):
    module = model_of(name).get_submodule(name)
    assert f"{type(module).__module__}.{type(module).__name__}" == component_of(name).reference
