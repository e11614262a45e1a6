"""`Tensor.pin_memory` without an accelerator."""

import pytest
import torch

from sam_tvm.patches.environment.pin_memory import PATCH

without_accelerator = pytest.mark.skipif(
    torch.accelerator.is_available(), reason="there is an accelerator"
)


@without_accelerator
def test_pinning_fails_without_the_patch():
    with pytest.raises(RuntimeError, match=PATCH.symptom):
        torch.zeros(2).pin_memory()


@without_accelerator
def test_pinned_tensor_is_the_tensor():
    tensor = torch.rand(3)
    with PATCH.apply():
        assert tensor.pin_memory() is tensor


def test_an_accelerator_keeps_its_own_pin_memory(monkeypatch):
    original = torch.Tensor.pin_memory
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with PATCH.apply():
        assert torch.Tensor.pin_memory is original
