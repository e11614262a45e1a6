"""Mask logits to probabilities, against torch's interpolate and sigmoid."""

import numpy as np
import pytest
import torch

from sam_tvm.runtime.masks import sigmoid, upsample_probabilities


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((64, 64), (480, 640)),
        ((64, 64), (1, 1)),
        ((64, 64), (20000, 10)),
        ((64, 64), (64, 64)),
        ((64, 64), (33, 31)),
        ((1, 1), (5, 7)),
        ((288, 288), (1080, 1920)),
    ],
)
def test_probabilities_equal_torch_within_rounding(source, size):
    logits = np.random.default_rng(0).standard_normal((2, *source)).astype(np.float32) * 8
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[:, None], size, mode="bilinear", align_corners=False
    ).sigmoid()
    ours = upsample_probabilities(logits, *size)
    assert ours.dtype == np.float32
    # Logits up to 40 carry rounding errors of 4e-6; the logistic function's slope is 1/4.
    np.testing.assert_allclose(ours, expected.numpy(), rtol=0, atol=1e-6)


def test_several_threads_give_the_same_bits():
    logits = np.random.default_rng(0).standard_normal((7, 16, 16)).astype(np.float32)
    alone = upsample_probabilities(logits, 300, 200)
    np.testing.assert_array_equal(upsample_probabilities(logits, 300, 200, threads=3), alone)


def test_no_masks_give_an_empty_array():
    assert upsample_probabilities(np.zeros((0, 64, 64), np.float32), 30, 40).shape == (0, 1, 30, 40)


def test_logits_are_left_unchanged():
    logits = np.ones((1, 4, 4), np.float32)
    upsample_probabilities(logits, 9, 9)
    assert (logits == 1).all()


def test_sigmoid_saturates_without_warnings():
    extreme = np.array([-np.inf, -1e4, -100, 0, 100, 1e4, np.inf], np.float32)
    expected = torch.from_numpy(extreme).double().sigmoid().numpy()
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(extreme), expected, rtol=1e-6, atol=1e-37)
    assert np.isnan(sigmoid(np.array([np.nan], np.float32)))
