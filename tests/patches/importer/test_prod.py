"""The product along an axis."""

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer.prod import PATCH


def _products(*tensors):
    return [y for x in tensors for y in (x.prod(1), x.prod(-1, keepdim=True))]


def test_products_equal_those_of_torch():
    tensors = [
        torch.arange(1, 7).reshape(3, 2).to(dtype)
        for dtype in (torch.int64, torch.int32, torch.float32)
    ]
    actual = build(export(_products, *tensors), PATCH.apply)(*tensors)
    for ours, torchs in zip(actual, _products(*tensors), strict=True):
        assert ours.dtype == torchs.numpy().dtype
        np.testing.assert_array_equal(ours, torchs)


def test_tvm_lacks_it_without_the_patch():
    with pytest.raises(AssertionError) as error:
        build(export(_products, torch.ones(3, 2)))
    assert PATCH.symptom in str(error.value)
