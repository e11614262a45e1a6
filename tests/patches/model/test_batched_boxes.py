"""Encoding of boxes for any number of images."""

import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer import converters
from sam_tvm.patches.model.batched_boxes import PATCH

D = 16
SIZES = ({0: "m", 1: "B"}, {0: "B", 1: "m"}, {0: "m", 1: "B"}, {0: "B"})


def _encoder(pool=True, pos_enc=True, direct_project=True):
    from sam3.model.geometry_encoders import SequenceGeometryEncoder
    from sam3.model.position_encoding import PositionEmbeddingSine

    torch.manual_seed(0)
    encoder = SequenceGeometryEncoder(
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=False,
        points_pos_enc=False,
        boxes_direct_project=direct_project,
        boxes_pool=pool,
        boxes_pos_enc=pos_enc,
        d_model=D,
        pos_enc=PositionEmbeddingSine(D),
        num_layers=0,
        layer=torch.nn.Identity(),
    )
    return encoder.eval().requires_grad_(False)


def _inputs(boxes, batch, seed=1):
    """Boxes (cxcywh) in and partly outside the image, with some of no size."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(boxes, batch, 2, generator=generator)
    sizes[0] = 0
    centres = 1.4 * torch.rand(boxes, batch, 2, generator=generator) - 0.2
    mask = torch.zeros(batch, boxes, dtype=torch.bool)
    labels = torch.randint(0, 2, (boxes, batch), generator=generator)
    features = torch.randn(batch, D, 9, 9, generator=generator)
    return torch.cat([centres, sizes], dim=2), mask, labels, features


@pytest.mark.parametrize(
    ("pool", "pos_enc", "direct_project"),
    [(True, True, True), (True, False, False), (False, True, True)],
)
@pytest.mark.parametrize(("boxes", "batch"), [(1, 1), (4, 3)])
def test_encoding_equals_the_unpatched_one(boxes, batch, pool, pos_enc, direct_project):
    encoder, inputs = _encoder(pool, pos_enc, direct_project), _inputs(boxes, batch)
    expected, expected_mask = encoder._encode_boxes(*inputs)
    with PATCH.apply(encoder):
        actual, mask = encoder._encode_boxes(*inputs)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    assert mask is expected_mask


def test_one_library_serves_all_numbers_of_boxes_and_images():
    encoder = _encoder(pos_enc=False)
    with PATCH.apply(encoder):
        program = export(encoder._encode_boxes, *_inputs(3, 2), sizes=SIZES)
    run = build(program, converters())
    for boxes, batch in [(3, 2), (1, 1), (5, 4)]:
        inputs = _inputs(boxes, batch)
        expected = encoder._encode_boxes(*inputs)[0]
        actual = torch.from_numpy(run(*inputs)[0])
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_number_of_images_is_fixed_without_the_patch():
    from torch._dynamo.exc import UserError

    encoder = _encoder(pos_enc=False)
    with pytest.raises(UserError) as error:
        export(encoder._encode_boxes, *_inputs(3, 2), sizes=SIZES)
    assert PATCH.symptom in str(error.value)
