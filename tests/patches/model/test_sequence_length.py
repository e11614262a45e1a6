"""The position encoding of any number of points."""

import pytest
import torch
from patch_support import export

from sam_tvm.patches.model.sequence_length import PATCH


def _encoding():
    from sam3.model.position_encoding import PositionEmbeddingSine

    return PositionEmbeddingSine(16)


def _export():
    sizes = ({0: "n"}, {0: "n"})
    return export(_encoding()._encode_xy, torch.rand(3), torch.rand(3), sizes=sizes)


def test_encoding_is_exported_for_any_number_of_points():
    with PATCH.apply(_encoding()):
        program = _export()
    for count in (1, 7):
        points = torch.rand(2, count).unbind(0)
        for actual, expected in zip(
            program.module()(*points), _encoding()._encode_xy(*points), strict=True
        ):
            assert torch.equal(actual, expected)


def test_lengths_are_still_compared():
    with PATCH.apply(_encoding()), pytest.raises(AssertionError):
        _encoding()._encode_xy(torch.rand(3), torch.rand(4))


def test_number_of_points_is_fixed_without_the_patch():
    from torch._dynamo.exc import UserError

    with pytest.raises(UserError) as error:
        _export()
    assert PATCH.symptom in str(error.value)
