"""Resizing of float planes as PyTorch's CPU kernels do it.

The preprocessor of `sam3d_objects` resizes with torchvision's ``Resize`` on float tensors: pictures
bilinear with antialiasing, masks and pointmaps by the nearest pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_OUTPUTS_PER_BLOCK = 16
_HALF = np.float32(0.5)


def resize_bilinear(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by a triangle filter that is widened by the scale when shrinking.

    Args:
        planes: (C, H, W) float32, finite.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (C, height, width) float32; `planes` itself where nothing changes. Equal to
        ``torch.nn.functional.interpolate(mode="bilinear", antialias=True)`` but for the order in
        which the taps are added.

    """
    if planes.shape[2] != width:
        planes = _filter_columns(planes, width)
    if planes.shape[1] != height:
        planes = _filter_rows(planes, height)
    return planes


def resize_nearest(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by taking pixels.

    Args:
        planes: (C, H, W) of any dtype.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (C, height, width), the pixels of ``torch.nn.functional.interpolate(mode="nearest")``.

    """
    rows = _nearest_indices(planes.shape[1], height)
    columns = _nearest_indices(planes.shape[2], width)
    return planes[:, rows[:, None], columns]


def _nearest_indices(inputs: int, outputs: int) -> np.ndarray:
    # In float32, because the kernel multiplies in float32: at some sizes the exact product, an
    # integer, is rounded down to the pixel before.
    scale = np.float32(inputs) / np.float32(outputs)
    indices = np.floor(np.arange(outputs, dtype=np.float32) * scale).astype(np.int64)
    return np.minimum(indices, inputs - 1)


class _Block(NamedTuple):
    """A run of outputs, the inputs that they read, and their weights (inputs, outputs)."""

    writes: slice
    reads: slice
    band: np.ndarray


def _filter_columns(planes: np.ndarray, outputs: int) -> np.ndarray:
    result = np.empty((*planes.shape[:2], outputs), np.float32)
    for block in _blocks(planes.shape[2], outputs):
        result[:, :, block.writes] = planes[:, :, block.reads] @ block.band
    return result


def _filter_rows(planes: np.ndarray, outputs: int) -> np.ndarray:
    result = np.empty((planes.shape[0], outputs, planes.shape[2]), np.float32)
    for block in _blocks(planes.shape[1], outputs):
        result[:, block.writes] = block.band.T @ planes[:, block.reads]
    return result


def _blocks(inputs: int, outputs: int) -> Iterator[_Block]:
    """Split the filter into small dense matrices: the quickest way to filter in numpy."""
    first, count, weights = _taps(inputs, outputs)
    for start in range(0, outputs, _OUTPUTS_PER_BLOCK):
        writes = slice(start, min(start + _OUTPUTS_PER_BLOCK, outputs))
        low = int(first[writes].min())
        high = int((first + count)[writes].max())
        band = np.zeros((high - low, writes.stop - start), np.float32)
        for column, output in enumerate(range(start, writes.stop)):
            at = int(first[output]) - low
            band[at : at + count[output], column] = weights[output, : count[output]]
        yield _Block(writes, slice(low, high), band)


def _taps(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each output's first input, number of inputs, and weights (outputs, taps).

    All in float32, as the kernel computes them (`ATen/native/cpu/UpSampleKernel.cpp`).
    """
    scale = np.float32(inputs) / np.float32(outputs)
    support = max(scale, np.float32(1))
    centre = scale * (np.arange(outputs, dtype=np.float32) + _HALF)
    first = np.maximum((centre - support + _HALF).astype(np.int64), 0)
    count = np.minimum((centre + support + _HALF).astype(np.int64), inputs) - first

    tap = np.arange(int(np.ceil(support)) * 2 + 1)
    offset = (tap + first[:, None]).astype(np.float32) - centre[:, None] + _HALF
    weights = np.maximum(np.float32(1) - np.abs(offset / support), np.float32(0))
    weights[tap >= count[:, None]] = 0
    return first, count, weights / weights.sum(axis=1, keepdims=True)
