"""The whole environment: `sam3` imports, builds and runs, and nothing stays behind."""

import sys

import pytest
import torch

from sam_tvm.patches.environment import PATCHES, declare_operators, reference_environment
from sam_tvm.patches.patch import Patch


def _geometry_encoder():
    from sam3.model.encoder import TransformerEncoderLayer
    from sam3.model.geometry_encoders import SequenceGeometryEncoder
    from sam3.model.model_misc import MultiheadAttentionWrapper
    from sam3.model.position_encoding import PositionEmbeddingSine

    attention = [MultiheadAttentionWrapper(embed_dim=16, num_heads=2) for _ in range(2)]
    layer = TransformerEncoderLayer(
        "relu", attention[0], 16, 32, 0.0, False, True, False, True, attention[1]
    )
    encodings = dict.fromkeys(
        (f"{shape}_{way}" for shape in ("points", "boxes") for way in ("pool", "pos_enc")), True
    )
    return SequenceGeometryEncoder(
        encode_boxes_as_points=False,
        points_direct_project=True,
        boxes_direct_project=True,
        **encodings,
        d_model=16,
        pos_enc=PositionEmbeddingSine(16, precompute_resolution=32),
        num_layers=1,
        layer=layer,
    ).eval()


def test_unpatched_geometry_encoder_runs(reference):
    from sam3.model.geometry_encoders import Prompt

    prompt = Prompt(box_embeddings=torch.rand(2, 1, 4), point_embeddings=torch.rand(3, 1, 2))
    features = torch.randn(36, 1, 16)
    with torch.no_grad():
        tokens, mask = _geometry_encoder()(prompt, [features], [(6, 6)], [features])
    assert tokens.shape == (6, 1, 16)
    assert tokens.isfinite().all()
    assert not mask.any()


def test_environment_can_be_nested_and_entered_again():
    for _ in range(2):
        with reference_environment():
            with reference_environment():
                _geometry_encoder()
            _geometry_encoder()  # the outer one still holds


def test_environment_is_left_after_an_error():
    pin_memory = vars(torch.Tensor).get("pin_memory")
    stubbed = "triton" in sys.modules
    with pytest.raises(KeyError), reference_environment():
        raise KeyError
    assert vars(torch.Tensor).get("pin_memory") is pin_memory
    assert ("triton" in sys.modules) == stubbed


def test_operators_stay_for_programs_that_call_them():
    declare_operators()
    images, rois = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 4, 4]])
    assert torch.ops.torchvision.roi_align(images, rois, 1.0, 2, 2, -1, False).eq(1).all()


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_patches_say_what_they_mend(patch: Patch):
    assert patch.symptom
    assert patch.versions
