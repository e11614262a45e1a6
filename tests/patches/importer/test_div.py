"""Division with rounding, tensors by numbers and by tensors."""

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer.div import PATCH

DIVIDENDS = [torch.arange(-7, 8).to(dtype) for dtype in (torch.float32, torch.int64, torch.int32)]
DIVISORS = [2, -3, torch.tensor([3]), torch.tensor([2.5])]


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_quotients_equal_those_of_torch(mode):
    def divide(*dividends):
        return [torch.div(x, y, rounding_mode=mode) for x in dividends for y in DIVISORS]

    actual = build(export(divide, *DIVIDENDS), PATCH.apply)(*DIVIDENDS)
    for ours, torchs in zip(actual, divide(*DIVIDENDS), strict=True):
        assert ours.dtype == torchs.numpy().dtype
        np.testing.assert_array_equal(ours, torchs)


def test_tvm_refuses_a_number_without_the_patch():
    program = export(lambda x: torch.div(x, 2, rounding_mode="floor"), torch.arange(5.0))
    with pytest.raises(TypeError, match=PATCH.symptom):
        build(program)
