"""The resize gives the pixels that torchvision's v2.Resize gives on a uint8 tensor."""

import numpy as np
import pytest
import torch

from sam_tvm.runtime.resize import axis_filter, resize_bilinear_uint8

# (height, width): down, up, one axis equal, odd, tiny, extreme aspects.
SIZES = (
    (480, 640),
    (1080, 1920),
    (223, 225),
    (224, 300),
    (300, 224),
    (224, 224),
    (448, 112),
    (1, 1),
    (1, 7),
    (3, 2),
    (17, 901),
    (20000, 10),
    (1, 20000),
    (2600, 97),
)


def pictures(height: int, width: int):
    """Noise, and black and white: the values that round and saturate most."""
    rng = np.random.default_rng(height * 20011 + width)
    yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    yield rng.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)


@pytest.mark.parametrize("side", [224, 1008])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_pixels_equal_torchvision(transforms, size, side):
    assert transforms.functional._geometry._do_native_uint8_resize_on_cpu(
        transforms.InterpolationMode.BILINEAR
    ), "this machine's reference resizes in float32"
    for picture in pictures(*size):
        expected = transforms.Resize((side, side))(torch.from_numpy(picture).permute(2, 0, 1))
        np.testing.assert_array_equal(
            resize_bilinear_uint8(picture, side, side), expected.permute(1, 2, 0).numpy()
        )


def test_pixels_equal_torchvision_at_random_sizes(transforms):
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(size) for size in np.exp(rng.uniform(0, 7, 2)) + 1)
        out_height, out_width = (int(size) for size in rng.integers(1, 300, 2))
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = transforms.Resize((out_height, out_width))(
            torch.from_numpy(picture).permute(2, 0, 1)
        )
        np.testing.assert_array_equal(
            resize_bilinear_uint8(picture, out_height, out_width),
            expected.permute(1, 2, 0).numpy(),
        )


@pytest.mark.parametrize(("inputs", "outputs"), [(10, 224), (224, 224), (4000, 1008), (20000, 7)])
def test_weights_are_16_bit_and_sum_to_one(inputs, outputs):
    taps = axis_filter(inputs, outputs)
    assert taps.weights.max() < 1 << 15
    sums = taps.weights.sum(axis=1) / (1 << taps.fraction_bits)
    np.testing.assert_allclose(sums, 1, atol=taps.weights.shape[1] * 2.0**-taps.fraction_bits)
    assert (taps.first + taps.count <= inputs).all()
