"""`sam3` imports without triton."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from sam_tvm.patches.environment.triton_stub import PATCH

without_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is not None, reason="triton is installed"
)


@without_triton
def test_sam3_fails_without_the_patch(fresh_process):
    assert fresh_process["import sam3"] == PATCH.symptom


@without_triton
def test_kernel_module_imports_with_the_stub(reference):
    from sam3.model import edt

    assert callable(edt.edt_kernel)
    assert edt.triton.jit(lambda: 1)() == 1
    assert edt.triton.jit(num_warps=4)(lambda: 2)() == 2


@without_triton
def test_stub_is_gone_afterwards():
    with PATCH.apply():
        assert "triton" in sys.modules
        assert "triton.language" in sys.modules
    assert "triton" not in sys.modules
    assert "triton.language" not in sys.modules


@without_triton
def test_torch_never_believes_in_the_stub():
    from torch.utils._triton import has_triton_package

    with PATCH.apply():
        assert not has_triton_package()
    assert not has_triton_package()


def test_real_triton_is_left_alone(monkeypatch):
    real = ModuleType("triton")
    real.__spec__ = ModuleSpec("triton", loader=None)
    monkeypatch.setitem(sys.modules, "triton", real)
    with PATCH.apply():
        assert sys.modules["triton"] is real
    assert sys.modules["triton"] is real


def test_sam3_does_not_import_decord(fresh_process):
    assert fresh_process["decord"] is False
