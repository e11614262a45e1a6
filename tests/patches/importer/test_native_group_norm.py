"""Group normalisation keeps its precision when the mean is large."""

import copy

import numpy as np
import torch
from patch_support import assert_as_accurate_as_torch, build, export
from torch import nn

from sam_tvm.patches.importer.native_group_norm import PATCH


def _norm(**options):
    torch.manual_seed(0)
    norm = nn.GroupNorm(8, 64, **options).eval().requires_grad_(False)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


def _input(mean, batch=2):
    return mean + torch.randn(batch, 64, 20, 24, generator=torch.Generator().manual_seed(1))


def _referee(norm, x):
    return copy.deepcopy(norm).double()(x.double())


def test_error_is_that_of_torch_at_any_mean_and_batch():
    norm = _norm()
    run = build(export(norm, _input(0), sizes=({0: "B"},)), PATCH.apply)
    for mean, batch in [(0, 2), (3, 1), (30, 2), (300, 3)]:
        x = _input(mean, batch)
        assert_as_accurate_as_torch(run(x)[0], norm(x), _referee(norm, x))


def test_norm_without_weights():
    norm, x = _norm(affine=False, eps=0.1), _input(3)
    actual = build(export(norm, x), PATCH.apply)(x)[0]
    assert_as_accurate_as_torch(actual, norm(x), _referee(norm, x))


def test_tvm_loses_precision_without_the_patch():
    norm = _norm()
    run = build(export(norm, _input(0)))
    for mean, least_error in [(30, 1e-3), (300, 0.5)]:
        x = _input(mean)
        referee = _referee(norm, x).numpy()
        assert np.abs(norm(x).numpy() - referee).max() < 1e-3
        assert np.abs(run(x)[0] - referee).max() > least_error
