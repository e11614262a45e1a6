"""Our operator for attention in windows through the importer."""

import re

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.kernels import attention
from sam_tvm.patches import windowed_attention
from sam_tvm.patches.importer.windowed_attention import PATCH
from sam_tvm.runtime.sparse import window_plan

windowed_attention.declare()


def attend(qkv, windows, slots):
    return torch.ops.sam_tvm.windowed_attention(qkv, windows, slots)


def inputs(count):
    rng = np.random.default_rng(count)
    cells = rng.choice(8**3, count, replace=False)
    coords = np.stack(np.unravel_index(cells, (8, 8, 8)), 1).astype(np.int32)
    plan = window_plan(coords, 4, 1)
    qkv = torch.from_numpy(rng.standard_normal((count, 3, 2, 6), dtype=np.float32))
    return qkv, torch.from_numpy(plan.windows), torch.from_numpy(plan.slot)


def program():
    return export(attend, *inputs(90), sizes=({0: "n"}, {0: "w", 1: "l"}, {0: "n"}))


def test_one_library_equals_the_operator():
    run = build(program(), PATCH.apply, attention.decompose())
    for count in (90, 1, 7):
        expected = attend(*inputs(count))
        np.testing.assert_allclose(run(*inputs(count))[0], expected, rtol=1e-5, atol=1e-5)


def test_tvm_lacks_it_without_the_patch():
    with pytest.raises(AssertionError, match=re.escape(PATCH.symptom)):
        build(program())
