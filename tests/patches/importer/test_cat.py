"""Concatenation of tensors of several dtypes."""

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer.cat import PATCH

FLOATS, INTEGERS, BOOLEANS = torch.rand(2, 3), torch.arange(3)[None], torch.ones(1, 3).bool()


def _cat(floats, integers, booleans):
    return (
        torch.cat([integers, floats]),
        torch.cat([booleans, integers], dim=-1),
        torch.cat([booleans, floats, integers]),
        torch.cat([floats, floats], dim=1),
    )


def test_dtypes_are_promoted_as_torch():
    tensors = FLOATS, INTEGERS, BOOLEANS
    actual = build(export(_cat, *tensors), PATCH.apply)(*tensors)
    for ours, torchs in zip(actual, _cat(*tensors), strict=True):
        assert ours.dtype == torchs.numpy().dtype
        np.testing.assert_array_equal(ours, torchs)


def test_tvm_refuses_several_dtypes_without_the_patch():
    program = export(lambda x, y: torch.cat([x, y]), INTEGERS, FLOATS)
    with pytest.raises(TypeError, match=PATCH.symptom):
        build(program)
