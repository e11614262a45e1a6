"""Pictures of the network's size are normalised and not resized."""

import pytest
import torch
from patch_support import export

from sam_tvm.patches.environment import reference_environment
from sam_tvm.patches.model.dino_pictures import PATCH

RESIZE = "upsample_bilinear2d"


@pytest.fixture
def dino():
    with reference_environment("sam3d"):
        from sam_tvm.models.presets import get_preset
        from sam_tvm.models.sam3d.build import build_component

        embedder = build_component("slat_condition_embedder", get_preset("tiny").sam3d)
        yield embedder.embedder_list[0][0]


def _operators(dino, picture):
    program = export(lambda x: dino._preprocess_input(x), picture).run_decompositions({})
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_original_on_pictures_and_masks(dino, channels):
    picture = torch.rand(2, channels, 112, 112)
    expected = dino._preprocess_input(picture.clone())
    with PATCH.apply(dino):
        actual = dino._preprocess_input(picture)
    assert actual.shape == (2, 3, 112, 112)
    assert torch.equal(actual, expected)


def test_another_size_is_refused(dino):
    with PATCH.apply(dino), pytest.raises(ValueError, match="112"):
        dino._preprocess_input(torch.rand(1, 3, 100, 112))


def test_program_resizes_only_without_the_patch(dino):
    picture = torch.rand(1, 3, 112, 112)
    assert any(RESIZE in name for name in _operators(dino, picture))
    with PATCH.apply(dino):
        assert not any(RESIZE in name for name in _operators(dino, picture))
