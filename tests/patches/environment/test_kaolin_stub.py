"""The stand-in for kaolin's check of tensors, as `flexicubes` calls it."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch

from sam_tvm.patches.environment.kaolin_stub import PATCH, check_tensor


def test_none_stands_for_any_size():
    assert check_tensor(torch.zeros(5, 3), (None, 3))
    assert not check_tensor(torch.zeros(5, 3), (None, 4), throw=False)
    assert not check_tensor(torch.zeros(5, 3), (5,), throw=False)


def test_a_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match=r"\(5, 3\), should be \(None, 4\)"):
        check_tensor(torch.zeros(5, 3), (None, 4))


def test_a_wrong_type_or_device_is_an_error():
    assert check_tensor(torch.zeros(2), dtype=torch.float32, device="cpu")
    with pytest.raises(TypeError):
        check_tensor(torch.zeros(2), dtype=torch.float64)
    assert not check_tensor(torch.zeros(2), device="cuda", throw=False)


def test_real_kaolin_is_left_alone(monkeypatch):
    real = ModuleType("kaolin")
    real.__spec__ = ModuleSpec("kaolin", loader=None)
    monkeypatch.setitem(sys.modules, "kaolin", real)
    with PATCH.apply():
        assert sys.modules["kaolin"] is real
    assert sys.modules["kaolin"] is real
