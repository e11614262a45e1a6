"""`torchvision::roi_align` as a real operator with a CPU kernel.

Without its C++ library torchvision falls back to a Python version under torch.compile. That one
counts samples outside the image at the value of the border, where the C++ kernel counts 0, and its
trace is dozens of operators instead of one. The kernel here has the semantics of torchvision's
C++ one (csrc/ops/cpu/roi_align_kernel.cpp), for float32 and float64.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.environment import torchvision_operators
from sam_tvm.patches.operators import define
from sam_tvm.patches.patch import Patch

_SCHEMA = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,"
    " SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"
)

# Kept for the life of the process: exported programs refer to the operator.
_library: torch.library.Library | None = None


def declare() -> None:
    """Define the operator with its CPU kernel and shape function, once, unless torchvision has it.

    A program that calls the operator can only be loaded where it is defined.
    """
    global _library
    torchvision_operators.declare()
    if _library is not None or torch._C._dispatch_has_kernel("torchvision::roi_align"):
        return
    _library = define("torchvision", _SCHEMA, roi_align, _shape)


@contextmanager
def roi_align_operator() -> Iterator[None]:
    """Let `torchvision.ops.roi_align` call the operator; a no-op with torchvision's C++ library."""
    declare()
    # By name: the attribute torchvision.ops.roi_align is the function, not the module.
    module = importlib.import_module("torchvision.ops.roi_align")
    with ExitStack() as stack:
        if not module._has_ops():
            stack.enter_context(replaced(module, "_has_ops", lambda: True))
            stack.enter_context(replaced(module, "_assert_has_ops", lambda: None))
        yield


def roi_align(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average bilinear samples of `input` (N,C,H,W) over the bins of each box.

    `rois` is (K,5): the image's index, then x1, y1, x2, y2, of the dtype of `input`. The result
    is (K, C, pooled_height, pooled_width). The samples of a bin lie on a grid and bilinear
    interpolation is separable, so each box needs one weight matrix per axis, and the memory grows
    with the samples along an axis, not with their product. Every value of `input` must be finite.
    """
    offset = 0.5 if aligned else 0.0
    start_x, start_y, end_x, end_y = (rois[:, 1:] * spatial_scale - offset).unbind(1)
    height, width = end_y - start_y, end_x - start_x
    if not aligned:  # the legacy rule: no box is smaller than a pixel
        height, width = height.clamp(min=1), width.clamp(min=1)
    rows, row_samples = _axis_weights(
        start_y, height, pooled_height, input.shape[2], sampling_ratio
    )
    columns, column_samples = _axis_weights(
        start_x, width, pooled_width, input.shape[3], sampling_ratio
    )
    samples = (row_samples * column_samples).clamp(min=1)
    images = input[rois[:, 0].long()]
    pooled = torch.einsum("kph,kchw,kqw->kcpq", rows, images, columns)
    return pooled / samples[:, None, None, None]


def _axis_weights(
    start: Tensor, length: Tensor, bins: int, size: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Return the weight of each pixel in each bin along one axis, and the samples per bin.

    `start` and `length` are (K,), in pixels; the weights are (K, bins, size) and sum over the
    samples of a bin, the number of samples is (K,).
    """
    bin_length = length / bins
    if sampling_ratio > 0:
        samples = torch.full_like(length, sampling_ratio)
    else:
        samples = (length / bins).ceil()
    most = int(samples.max().clamp(min=0)) if len(samples) else 0
    bin_index = torch.arange(bins, dtype=start.dtype)[None, :, None]
    sample_index = torch.arange(most, dtype=start.dtype)[None, None, :]
    bin_length, count = bin_length[:, None, None], samples[:, None, None]
    position = (
        start[:, None, None]
        + bin_index * bin_length
        + (sample_index + 0.5) * bin_length / count.clamp(min=1)
    )
    # One pixel of slack around the image, as in the C++ kernel; beyond it a sample counts as 0.
    used = (sample_index < count) & (position >= -1) & (position <= size)
    position = position.clamp(min=0)
    low = position.long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    fraction = torch.where(low < size - 1, position - low, 0)
    weights = start.new_zeros(len(start), bins, size)
    weights.scatter_add_(2, low, torch.where(used, 1 - fraction, 0))
    weights.scatter_add_(2, high, torch.where(used, fraction, 0))
    return weights, samples


def _shape(
    input: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return input.new_empty(rois.shape[0], input.shape[1], pooled_height, pooled_width)


PATCH = Patch(
    name="roi_align",
    symptom="'_OpNamespace' 'torchvision' object has no attribute 'roi_align'",
    versions={"torch": "2.13.0+cpu", "torchvision": "0.28.0"},
    upstream=None,
    apply=roi_align_operator,
)
