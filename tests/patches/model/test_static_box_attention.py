"""The decoder's box-relative bias with a static feature size."""

import pytest
import torch
from patch_support import export

from sam_tvm.patches.model.static_box_attention import PATCH

SIZE = 5


def _decoder(**options):
    from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer
    from sam3.model.model_misc import MultiheadAttentionWrapper

    torch.manual_seed(0)
    attention = MultiheadAttentionWrapper(embed_dim=16, num_heads=2)
    layer = TransformerDecoderLayer("relu", 16, 32, 0.0, attention, 2)
    decoder = TransformerDecoder(
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
    return decoder.eval().requires_grad_(False)


def _bias(decoder, reference_boxes):
    """Call it as the decoder does: with sizes read from a tensor."""
    spatial_shapes = torch.tensor([[SIZE, SIZE]])
    return decoder._get_rpb_matrix(reference_boxes, (spatial_shapes[0, 0], spatial_shapes[0, 1]))


def test_bias_equals_the_unpatched_one():
    decoder, boxes = _decoder(resolution=14 * SIZE, stride=14), torch.rand(4, 3, 4)
    expected = _bias(decoder, boxes)
    with PATCH.apply(decoder):
        assert torch.equal(_bias(decoder, boxes), expected)


def test_bias_is_exported_for_any_batch():
    decoder = _decoder(resolution=14 * SIZE, stride=14)
    with PATCH.apply(decoder):
        program = export(
            lambda boxes: _bias(decoder, boxes), torch.rand(4, 2, 4), sizes=({1: "B"},)
        )
    for batch in (1, 3):
        boxes = torch.rand(4, batch, 4)
        assert torch.equal(program.module()(boxes), _bias(decoder, boxes))


def test_decoder_of_unknown_size_is_refused():
    decoder = _decoder()
    with PATCH.apply(decoder), pytest.raises(ValueError, match="without a resolution"):
        _bias(decoder, torch.rand(4, 2, 4))


def test_export_fails_without_the_patch():
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    decoder = _decoder(resolution=14 * SIZE, stride=14)
    with pytest.raises(GuardOnDataDependentSymNode) as error:
        export(lambda boxes: _bias(decoder, boxes), torch.rand(4, 2, 4))
    assert PATCH.symptom in str(error.value)
