"""torchvision imports without its C++ library."""

import sys

import pytest
import torch

from sam_tvm.patches.environment.torchvision_operators import PATCH, declare


def _has_cpp_library() -> bool:
    declare()
    import torchvision

    return torchvision.extension._has_ops()


def test_import_fails_without_the_operators(fresh_process):
    if _has_cpp_library():
        pytest.skip("torchvision's C++ library loads here")
    assert PATCH.symptom in fresh_process["import torchvision"]


def test_declaring_twice_is_harmless():
    with PATCH.apply(), PATCH.apply():
        import torchvision

    assert torchvision.__version__


def test_declared_operators_refuse_to_run():
    if _has_cpp_library():
        pytest.skip("torchvision's C++ library loads here")
    import torchvision

    boxes, scores = torch.rand(2, 4), torch.rand(2)
    with pytest.raises(RuntimeError, match=r"Couldn't load custom C\+\+ ops"):
        torchvision.ops.nms(boxes, scores, 0.5)
    with pytest.raises(NotImplementedError):
        torch.ops.torchvision.nms(boxes, scores, 0.5)


def test_other_import_errors_are_not_hidden(monkeypatch):
    class Broken:
        def find_spec(self, name, *rest):
            raise RuntimeError("something else")

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken()])
    with pytest.raises(RuntimeError, match="something else"):
        declare()
