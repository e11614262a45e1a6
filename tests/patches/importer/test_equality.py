"""Comparison of boolean and other tensors with numbers."""

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer.equality import PATCH

TENSORS = [
    torch.tensor([True, False, True]),
    torch.tensor([0, 1, 2]),
    torch.tensor([1.0, 0.0, float("inf"), float("nan")]),
]


def _comparisons(x):
    return x.eq(1), x.eq(0), x.ne(1), x.ne(0), x.eq(2), x.ne(2)


def test_comparisons_equal_those_of_torch():
    def compare(*tensors):
        return [result for x in tensors for result in _comparisons(x)]

    actual = build(export(compare, *TENSORS), PATCH.apply)(*TENSORS)
    for ours, torchs in zip(actual, compare(*TENSORS), strict=True):
        assert ours.dtype == np.bool_
        np.testing.assert_array_equal(ours, torchs)


@pytest.mark.parametrize("compare", [torch.eq, torch.ne])
def test_llvm_refuses_booleans_without_the_patch(compare):
    x = torch.tensor([True, False])
    with pytest.raises(Exception, match=PATCH.symptom):
        build(export(lambda x: compare(x, 1), x))


def test_tvm_finds_nan_equal_to_a_number_without_the_patch():
    x = torch.tensor([float("nan"), 1.0])
    assert not build(export(lambda x: x.ne(2), x))(x)[0][0]
    assert x.ne(2)[0]
