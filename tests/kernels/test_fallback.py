"""Loops that no rule reads run in parallel where each step computes elements of its own."""

import math

import numpy as np
import pytest
from relax_programs import compiled, nodes, normal
from tvm import relax, tirx

op = relax.op


def parallel_loops(run) -> int:
    return sum(loop.kind == tirx.ForKind.PARALLEL for loop in nodes(run, tirx.For))


def bilinear(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    """The channels at a point between the pixels of a (channels, rows, columns) picture."""
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, picture.shape[1] - 1), min(left + 1, picture.shape[2] - 1)
    y, x = y - top, x - left
    upper = picture[:, top, left] * (1 - x) + picture[:, top, right] * x
    lower = picture[:, bottom, left] * (1 - x) + picture[:, bottom, right] * x
    return upper * (1 - y) + lower * y


def region(picture: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A box (left, top, right, bottom) in `size` bins, each the mean of points a pixel apart."""
    left, top, right, bottom = box
    height, width = (bottom - top) / size[0], (right - left) / size[1]
    counts = math.ceil(height), math.ceil(width)
    result = np.zeros((len(picture), *size))
    for row, column in np.ndindex(*size):
        points = [
            bilinear(
                picture,
                top + (row + (i + 0.5) / counts[0]) * height,
                left + (column + (j + 0.5) / counts[1]) * width,
            )
            for i, j in np.ndindex(*counts)
        ]
        result[:, row, column] = np.mean(points, axis=0)
    return result


def test_regions_of_a_picture_are_parallel_and_equal_float64():
    def build(x, boxes):
        return op.vision.roi_align(x, boxes, (3, 2), 1.0, -1, False, layout="NCHW")

    run = compiled(build, ((1, 5, 9, 11), "float32"), (("m", 5), "float32"))
    assert list(run.rules.values()) == ["fallback"]
    assert parallel_loops(run) == 1
    x = normal(1, 5, 9, 11)
    boxes = np.array([[0, 1.2, 0.5, 8.3, 7.1], [0, 2.0, 3.0, 6.5, 6.25]], "float32")
    exact = np.stack([region(x[0].astype("float64"), box[1:], (3, 2)) for box in boxes])
    for count in (1, 2):
        np.testing.assert_allclose(run(x, boxes[:count]), exact[:count], atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_running_sums_are_parallel_and_equal_float64(axis):
    shape = (40, 50, 36)
    run = compiled(lambda x: op.cumsum(x, axis=axis), (shape, "float32"))
    x = normal(*shape)
    np.testing.assert_allclose(run(x), np.cumsum(x.astype("float64"), axis=axis), atol=1e-4)
