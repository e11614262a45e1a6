"""The resizes give what torchvision's Resize gives on a float tensor."""

import numpy as np
import pytest
import torch

from sam_tvm.runtime.reconstruction.resample import resize_bilinear, resize_nearest

SIZES = ((7, 7), (518, 518), (519, 519), (301, 301), (1200, 1200), (64, 200), (1, 1), (3, 90))


def resized(planes: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    from torchvision.transforms import InterpolationMode, Resize

    return Resize(size, InterpolationMode(mode))(torch.from_numpy(planes)).numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_bilinear_equals_torchvision_with_antialiasing(reference, rng, size):
    planes = rng.random((3, *size), np.float32)
    for side in (518, 112):
        np.testing.assert_allclose(
            resize_bilinear(planes, side, side),
            resized(planes, (side, side), "bilinear"),
            rtol=0,
            atol=1e-6,
        )


def test_nearest_takes_the_pixels_that_torchvision_takes(reference, rng):
    for _ in range(300):
        height, width, rows, columns = (int(n) for n in np.exp(rng.uniform(0, 7, 4)) + 1)
        planes = np.stack(np.mgrid[:height, :width]).astype(np.float32)
        np.testing.assert_array_equal(
            resize_nearest(planes, rows, columns), resized(planes, (rows, columns), "nearest")
        )


def test_planes_of_the_wanted_size_are_not_copied(rng):
    planes = rng.random((3, 20, 30), np.float32)
    assert resize_bilinear(planes, 20, 30) is planes
