"""The object's frame is the one that the reference cuts out."""

import numpy as np
import pytest
import torch

from sam_tvm.runtime.errors import MaskError
from sam_tvm.runtime.reconstruction.framing import frame, object_box, pad_to_square


def rectangle(rng, height: int, width: int) -> np.ndarray:
    """Make a mask whose object often touches the picture's edge."""
    top, bottom = sorted(rng.choice(height + 1, 2, replace=False))
    left, right = sorted(rng.choice(width + 1, 2, replace=False))
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("padding_factor", [0.0, 0.1])
@pytest.mark.parametrize("size_factor", [1.0, 1.2, 3.0])
def test_frames_equal_the_reference(reference, rng, size_factor, padding_factor):
    compared = 0
    for _ in range(200):
        height, width = (int(size) for size in rng.integers(5, 60, 2))
        mask = rectangle(rng, height, width)
        planes = rng.random((6, height, width), np.float32)
        image, points = torch.from_numpy(planes).split(3)
        marks = torch.from_numpy(mask).float()[None]
        try:
            expected = reference.transforms.crop_around_mask_with_padding(
                image, marks, size_factor, padding_factor, pointmap=points
            )
        except reference.transforms.BoundingBoxError:
            with pytest.raises(MaskError, match="at least 3 x 3"):
                object_box(mask, size_factor)
            continue
        box = object_box(mask, size_factor)
        fills = {"image": 0.0, "mask": 0.0, "points": float("nan")}
        ours = {"image": planes[:3], "mask": mask[None].astype(np.float32), "points": planes[3:]}
        for (name, fill), wanted in zip(fills.items(), expected, strict=True):
            actual = frame(ours[name], box, padding_factor, fill)
            np.testing.assert_array_equal(actual, wanted.numpy(), err_msg=name)
        compared += 1
    assert compared > 100


@pytest.mark.parametrize("size", [(4, 9), (9, 4), (5, 5), (1, 2)])
def test_square_equals_the_reference(reference, rng, size):
    planes = rng.random((3, *size), np.float32)
    expected = reference.padding.pad_to_square_centered(torch.from_numpy(planes))
    np.testing.assert_array_equal(pad_to_square(planes), expected.numpy())


def test_an_empty_mask_is_an_error():
    with pytest.raises(MaskError, match="empty"):
        object_box(np.zeros((5, 5), bool), 1.2)
