"""Construction of the image model from sam3's classes."""

import functools

import pytest
import torch
from torch.overrides import TorchFunctionMode

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3.build import bpe_path, build_model, compose_model
from sam_tvm.runtime.errors import UserError


class UnallocatedParameters(TorchFunctionMode):
    """Makes `torch.empty` allocate nothing, so that the full model costs two seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@pytest.fixture(scope="module")
def published_and_composed():
    config = get_preset("full").sam3
    with UnallocatedParameters():
        return build_model(config), compose_model(config).eval()


def test_full_config_composes_the_published_state_dict(published_and_composed):
    published, composed = (
        [(key, tensor.shape, tensor.dtype) for key, tensor in model.state_dict().items()]
        for model in published_and_composed
    )
    assert composed == published
    assert sum(shape.numel() for _, shape, _ in published) > 840e6


def test_full_config_composes_the_published_modules(published_and_composed):
    published, composed = (dict(model.named_modules()) for model in published_and_composed)
    assert repr(composed[""]) == repr(published[""])
    assert composed.keys() == published.keys()
    for name, module in published.items():
        assert type(composed[name]) is type(module)
        assert hyperparameters(composed[name]) == hyperparameters(module), name


def test_full_config_composes_the_published_buffers(published_and_composed):
    published, composed = (dict(model.named_buffers()) for model in published_and_composed)
    assert composed.keys() == published.keys()
    for name, buffer in published.items():
        if buffer.is_meta:
            assert composed[name].shape == buffer.shape
        else:
            assert torch.equal(composed[name], buffer)


def test_tiny_has_the_classes_of_full(published_and_composed, tiny):
    full_classes = {type(module) for module in published_and_composed[0].modules()}
    assert {type(module) for module in tiny.modules()} == full_classes


def test_model_is_in_evaluation_mode_without_gradients(tiny):
    assert not any(module.training for module in tiny.modules())
    assert not any(parameter.requires_grad for parameter in tiny.parameters())


def test_vocabulary_comes_from_open_clip():
    assert bpe_path().is_file()


def test_missing_vocabulary_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install open-clip-torch"):
        bpe_path()


def hyperparameters(module):
    """Return a module's own attributes in comparable form, without its submodules."""
    return {
        name: comparable(value)
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules")
    }


def comparable(value):
    if isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.numpy().tobytes()
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, (type(None), bool, int, float, str, set, torch.dtype, torch.device)):
        return value
    return getattr(value, "__qualname__", type(value).__qualname__)
