"""The float64 referee of SAM-3D-Objects' components, on tensors alone where they are sparse."""

from dataclasses import replace

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.weights import load_component
from sam_tvm.pipeline.reference_worker import evaluate

PRESET = get_preset("tiny")
NARROW = {torch.float16, torch.bfloat16, torch.float32}
COMPONENTS = components.components("sam3d")


class SeenDtypes(TorchDispatchMode):
    """Collects the dtypes of all that any operator returns."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        leaves = pytree.tree_leaves(outputs)
        self.dtypes |= {leaf.dtype for leaf in leaves if isinstance(leaf, torch.Tensor)}
        return outputs


@pytest.fixture(params=COMPONENTS, ids=lambda component: component.name)
def component(request):
    return request.param


def test_nothing_narrower_than_float64_is_computed(component):
    model, _ = load_component(component.name, PRESET)
    call, seen = component.call, SeenDtypes()
    if component.tensor_only is not None:
        model, call = component.tensor_only(model), torch.nn.Module.__call__

    def watched(module, *tensors):  # the parameters are widened by now
        with seen:
            return call(module, *tensors)

    inputs = make_inputs(component, PRESET.sam3d, component.cases[-1])
    outputs = evaluate(model, replace(component, call=watched, tensor_only=None), inputs, "float64")
    assert {output.dtype.name for output in outputs} == {"float64"}
    assert torch.float64 in seen.dtypes
    assert not seen.dtypes & NARROW


def test_float32_on_tensors_is_close_to_the_referee(component):
    """Also that the referee is another computation: it does not agree to the last bit."""
    inputs = make_inputs(component, PRESET.sam3d, component.cases[0])
    call = component.call
    model, _ = load_component(component.name, PRESET)
    module = model
    if component.tensor_only is not None:
        module, call = component.tensor_only(model).eval(), torch.nn.Module.__call__
    with torch.inference_mode():
        outputs = [o.numpy() for o in call(module, *map(torch.from_numpy, inputs.values()))]
    model, _ = load_component(component.name, PRESET)
    for output, exact in zip(outputs, evaluate(model, component, inputs, "float64"), strict=True):
        error = abs(output - exact).max() / abs(exact).max()
        assert 1e-10 < error < 3e-5
