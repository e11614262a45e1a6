"""Modules that name the device "cuda" are built on the CPU."""

import pytest
import torch

from sam_tvm.patches.environment import reference_environment
from sam_tvm.patches.environment.cuda_constructors import PATCH

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def _decoder(**options):
    from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer
    from sam3.model.model_misc import MultiheadAttentionWrapper

    attention = MultiheadAttentionWrapper(embed_dim=16, num_heads=2)
    layer = TransformerDecoderLayer("relu", 16, 32, 0.0, attention, 2)
    return TransformerDecoder(
        d_model=16,
        frozen=False,
        interaction_layer=None,
        layer=layer,
        num_layers=1,
        num_queries=4,
        return_intermediate=True,
        box_refine=True,
        boxRPB="log",
        **options,
    )


def test_constructors_fail_without_the_patch():
    with reference_environment():
        from sam3.model.position_encoding import PositionEmbeddingSine
    with pytest.raises(AssertionError, match=PATCH.symptom):
        PositionEmbeddingSine(16, precompute_resolution=32)
    with pytest.raises(AssertionError, match=PATCH.symptom):
        _decoder(resolution=56, stride=14)


def test_precomputed_positions_are_those_computed_on_the_cpu(reference):
    from sam3.model.position_encoding import PositionEmbeddingSine

    precomputed = PositionEmbeddingSine(16, precompute_resolution=32)
    plain = PositionEmbeddingSine(16)
    assert sorted(precomputed.cache) == [(1, 1), (2, 2), (4, 4), (8, 8)]
    for size, cached in precomputed.cache.items():
        assert cached.device.type == "cpu"
        assert torch.equal(cached, plain(torch.zeros(1, 1, *size))[0])


def test_decoder_coordinates_are_fractions_of_the_feature_size(reference):
    decoder = _decoder(resolution=56, stride=14)
    assert decoder.compilable_stored_size == (4, 4)
    for coordinates in decoder.compilable_cord_cache:
        assert torch.equal(coordinates, torch.tensor([0.0, 0.25, 0.5, 0.75]))


def test_only_the_device_cuda_is_redirected(reference):
    with pytest.raises(AssertionError, match=PATCH.symptom):
        torch.zeros(2, device="cuda")
