"""After the patches, torch, torchvision, sam3 and TVM are and behave as before."""

import sys
from types import ModuleType

import pytest
import torch
from patch_support import build, export
from torch import nn
from tvm.relax.frontend.torch import exported_program_translator

from sam_tvm.patches.environment import reference_environment
from sam_tvm.patches.importer import converters
from sam_tvm.patches.model import export_patches


def _watched() -> list[ModuleType | type]:
    """Modules that a patch touches or could touch, and the classes that they define."""
    names = ["torch", "torch.nn.functional", "torchvision.ops.roi_align"]
    names += [name for name in sys.modules if name.startswith("sam3.")]
    names += ["tvm.relax.op", exported_program_translator.__name__]
    modules = [sys.modules[name] for name in names if isinstance(sys.modules[name], ModuleType)]
    classes = {value for module in modules for value in vars(module).values() if _is_class(value)}
    return [*modules, torch.Tensor, *classes]


def _is_class(value: object) -> bool:
    return isinstance(value, type) and value.__module__.startswith(("sam3.", "tvm.relax.frontend"))


def _snapshot() -> dict[str, object]:
    """Every attribute of what is watched, by name."""
    return {
        f"{owner.__name__}.{name}": value
        for owner in _watched()
        for name, value in vars(owner).items()
        if not name.startswith("__") or name == "__init__"
    }


def _attention() -> nn.Module:
    from sam3.model.vitdet import Attention

    torch.manual_seed(0)
    return Attention(dim=16, num_heads=2, use_rope=True, input_size=(3, 3)).eval()


@pytest.fixture
def before():
    """Attributes once everything is imported, and what one patched export leaves of them."""
    with reference_environment():
        attention = _attention()
        with export_patches(attention):
            export(attention, torch.zeros(1, 3, 3, 16))
    return _snapshot()


def _changed(before: dict[str, object]) -> set[str]:
    after = _snapshot()
    missing = object()
    return {
        name
        for name in before.keys() | after.keys()
        if before.get(name, missing) is not after.get(name, missing)
    }


def test_snapshot_sees_the_patches(before):
    with reference_environment():
        environment = _changed(before)
        with export_patches(nn.Module()):
            everything = _changed(before)
    if not torch.accelerator.is_available():
        assert "Tensor.pin_memory" in environment
        assert "PositionEmbeddingSine.__init__" in environment
    assert everything - environment >= {
        "sam3.model.vitdet.apply_rotary_enc",
        "sam3.model.position_encoding.len",
        "sam3.model.geometry_encoders.concat_padded_sequences",
        "SequenceGeometryEncoder._encode_boxes",
        "TransformerDecoder._get_rpb_matrix",
    }


def test_all_attributes_are_as_before(before):
    with reference_environment():
        attention = _attention()
        with export_patches(attention):
            program = export(attention, torch.zeros(1, 3, 3, 16))
    build(program, converters())
    assert _changed(before) == set()
    assert "triton" not in sys.modules or sys.modules["triton"].__file__


def test_attributes_are_as_before_after_an_error(before):
    with (
        pytest.raises(KeyError),
        reference_environment(),
        export_patches(_attention()),
    ):
        raise KeyError
    assert _changed(before) == set()


def test_sam3_computes_the_same_bits_as_before(before):
    attention, x = _attention(), torch.randn(2, 3, 3, 16)
    state = {name: tensor.clone() for name, tensor in attention.state_dict().items()}
    expected = attention(x)
    with reference_environment(), export_patches(attention):
        attention(x)
    assert torch.equal(attention(x), expected)
    for name, tensor in attention.state_dict().items():
        assert tensor.dtype == state[name].dtype
        assert torch.equal(tensor, state[name])


def test_tvm_refuses_what_it_refused_before(before):
    program = export(lambda x: x.prod(0), torch.rand(3, 2))
    assert build(program, converters())(torch.ones(3, 2))[0].tolist() == [1, 1]
    with pytest.raises(AssertionError, match=r"prod\.dim_int"):
        build(program)
