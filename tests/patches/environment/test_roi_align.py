"""The operator `torchvision::roi_align` against an independent float64 version."""

import importlib
import inspect

import numpy as np
import pytest
import torch
from patch_support import export, naive_roi_align

from sam_tvm.patches.environment.roi_align import PATCH, declare

# (image, x1, y1, x2, y2) in an image of 12 rows and 10 columns.
BOXES = {
    "inside": (0, 1.0, 2.0, 7.5, 9.25),
    "whole": (1, 0.0, 0.0, 10.0, 12.0),
    "tiny": (0, 5.0, 5.0, 5.25, 5.125),
    "at the edge": (0, 8.3, 2.2, 9.9, 11.95),
    "across the corner": (1, -3.0, -2.0, 4.0, 6.0),
    "across the far border": (1, 8.5, 10.5, 11.5, 13.5),
    "around the image": (1, -100.0, -80.0, 120.0, 90.0),
    "outside": (1, 20.0, 20.0, 30.0, 31.0),
    "outside, negative": (0, -40.0, -30.0, -20.0, -15.0),
    "reversed": (0, 5.0, 5.0, 4.0, 3.0),
    "reversed, large": (0, 9.0, 9.0, 1.0, 2.0),
    "reversed on one axis": (1, 2.0, 9.0, 7.0, 3.0),
    "empty": (0, 4.0, 4.0, 4.0, 4.0),
}
VARIANTS = [  # sampling_ratio, aligned, spatial_scale
    (-1, False, 1.0),
    (-1, True, 1.0),
    (-1, False, 0.5),
    (2, False, 1.0),
    (3, True, 0.25),
    (0, False, 1.0),
]


def _inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    return images.to(dtype), torch.tensor(list(BOXES.values()), dtype=dtype)


@pytest.fixture(autouse=True)
def operator():
    with PATCH.apply():
        yield


@pytest.mark.parametrize(("sampling_ratio", "aligned", "scale"), VARIANTS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)], ids=str
)
def test_roi_align_equals_the_naive_version(dtype, tolerance, sampling_ratio, aligned, scale):
    images, rois = _inputs(dtype)
    actual = torch.ops.torchvision.roi_align(images, rois, scale, 7, 5, sampling_ratio, aligned)
    expected = naive_roi_align(images, rois, scale, 7, 5, sampling_ratio, aligned)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual.double(), expected, rtol=0, atol=tolerance)


def test_torchvision_calls_the_operator_for_a_list_of_boxes():
    import torchvision

    images, rois = _inputs(torch.float64)
    by_image = [rois[rois[:, 0] == image, 1:] for image in (0, 1)]
    table = torch.cat([rois[rois[:, 0] == image] for image in (0, 1)])
    actual = torchvision.ops.roi_align(images, by_image, (7, 5))
    expected = naive_roi_align(images, table, 1.0, 7, 5, -1, False)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


def test_no_boxes_give_an_empty_result():
    images, rois = _inputs(torch.float32)
    pooled = torch.ops.torchvision.roi_align(images, rois[:0], 1.0, 7, 5, -1, False)
    assert pooled.shape == (0, 3, 7, 5)


def test_export_keeps_the_number_of_boxes_symbolic():
    import torchvision

    images, rois = _inputs(torch.float32)
    program = export(
        lambda x, y: torchvision.ops.roi_align(x, y, (7, 5)), images, rois, sizes=({}, {0: "k"})
    )
    called = [node.target.__name__ for node in program.graph.nodes if node.op == "call_function"]
    assert "roi_align.default" in called
    more = torch.cat([rois, rois])
    expected = naive_roi_align(images, more, 1.0, 7, 5, -1, False)
    np.testing.assert_allclose(program.module()(images, more), expected, rtol=0, atol=1e-5)


def test_operator_is_missing_without_the_patch(fresh_process):
    if _has_cpp_library():
        pytest.skip("torchvision's C++ library loads here")
    assert fresh_process["roi_align"] == PATCH.symptom


def test_fallback_of_torchvision_is_wrong_outside_the_image():
    fallback = inspect.unwrap(importlib.import_module("torchvision.ops.roi_align")._roi_align)
    images, rois = _inputs(torch.float64)
    expected = naive_roi_align(images, rois, 1.0, 7, 5, -1, False)
    actual = fallback(images, rois, 1.0, 7, 5, -1, False).numpy()
    error = np.abs(actual - expected).max((1, 2, 3))
    wrong = {name for name, value in zip(BOXES, error, strict=True) if value > 0.1}
    assert wrong == {
        "across the corner",
        "across the far border",
        "around the image",
        "outside",
        "outside, negative",
    }


def _has_cpp_library() -> bool:
    declare()
    return importlib.import_module("torchvision.extension")._has_ops()
