"""Antialiased bilinear resize of uint8 pictures, bit for bit as PyTorch's native kernel does it.

`Sam3Processor` resizes with torchvision's ``v2.Resize`` on a uint8 tensor, which on AVX2, AVX-512
and Arm machines runs PyTorch's native uint8 kernel (`ATen/native/cpu/UpSampleKernel.cpp`):
a horizontal pass, then a vertical one, each a triangle filter whose float64 weights are rounded to
integers with as many fraction bits as 16 bits hold, and whose result is rounded to uint8.
Pillow's filter has the same taps and more fraction bits, so it differs by one level on many pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_MAX_FRACTION_BITS = 22
_WEIGHT_LIMIT = 1 << 15  # weights are int16 in the kernel
_OUTPUTS_PER_BLOCK = 16
# Multiplications in one matrix product: fits a core's cache, and stays below what makes a BLAS
# start threads, which would compete with TVM's.
_PRODUCT_SIZE = 1 << 18


@dataclass(frozen=True)
class AxisFilter:
    """Integer filter taps of one axis: output i reads `weights.shape[1]` inputs from `first[i]`.

    Attributes:
        first: (outputs,) int64, the first input of each output.
        count: (outputs,) int64, how many of the taps are inside the picture.
        weights: (outputs, taps) int64, zero beyond `count`; they sum to about 2**fraction_bits.
        fraction_bits: what to shift the weighted sum by.

    """

    first: np.ndarray
    count: np.ndarray
    weights: np.ndarray
    fraction_bits: int


def axis_filter(inputs: int, outputs: int) -> AxisFilter:
    """Triangle filter from `inputs` to `outputs` samples, widened by the scale when shrinking."""
    scale = inputs / outputs
    support = max(scale, 1.0)
    taps = int(np.ceil(np.float32(support))) * 2 + 1

    centre = scale * (np.arange(outputs) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), inputs)
    count = np.clip(last - first, 0, taps)

    tap = np.arange(taps)
    distance = np.abs((tap + first[:, None] - centre[:, None] + 0.5) * (1.0 / support))
    weights = np.where(tap < count[:, None], np.maximum(1.0 - distance, 0.0), 0.0)
    # A running sum, because the kernel adds in this order and numpy's sum adds pairwise.
    weights /= np.cumsum(weights, axis=1)[:, -1:]

    fraction_bits = 0
    while (
        fraction_bits < _MAX_FRACTION_BITS
        and int(0.5 + weights.max() * (1 << (fraction_bits + 1))) < _WEIGHT_LIMIT
    ):
        fraction_bits += 1
    rounded = (0.5 + weights * (1 << fraction_bits)).astype(np.int64)
    return AxisFilter(first, count, rounded, fraction_bits)


def resize_bilinear_uint8(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture.

    Args:
        image: (H, W, C) uint8, H and W at least 1.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (height, width, C) uint8; `image` itself where nothing changes.

    """
    rows, columns, channels = image.shape
    if columns != width:
        image = _filter_columns(image, axis_filter(columns, width))
    if rows != height:
        flat = image.reshape(rows, width * channels)
        image = _filter_rows(flat, axis_filter(rows, height)).reshape(height, width, channels)
    return image


def _filter_columns(image: np.ndarray, taps: AxisFilter) -> np.ndarray:
    """Filter (rows, columns, channels) along its columns."""
    rows, _, channels = image.shape
    result = np.empty((rows, len(taps.first), channels), np.uint8)
    for block in _blocks(taps):
        inputs, outputs = block.band.shape
        step = max(1, _PRODUCT_SIZE // block.band.size)
        source = np.empty((step, inputs), block.band.dtype)
        sums = np.empty((step, outputs), block.band.dtype)
        for top in range(0, rows, step):
            part = slice(top, min(top + step, rows))
            size = part.stop - part.start
            for channel in range(channels):
                np.copyto(source[:size], image[part, block.reads, channel])
                np.matmul(source[:size], block.band, out=sums[:size])
                _round_into(sums[:size], taps, result[part, block.writes, channel])
    return result


def _filter_rows(flat: np.ndarray, taps: AxisFilter) -> np.ndarray:
    """Filter (rows, anything) along its rows."""
    result = np.empty((len(taps.first), flat.shape[1]), np.uint8)
    for block in _blocks(taps):
        weights = np.ascontiguousarray(block.band.T)
        step = max(1, _PRODUCT_SIZE // weights.size)
        for left in range(0, flat.shape[1], step):
            part = slice(left, left + step)
            sums = weights @ flat[block.reads, part].astype(weights.dtype)
            _round_into(sums, taps, result[block.writes, part])
    return result


class _Block(NamedTuple):
    """A run of outputs, the inputs that they read, and their weights (inputs, outputs)."""

    writes: slice
    reads: slice
    band: np.ndarray


def _blocks(taps: AxisFilter) -> Iterator[_Block]:
    """Split a filter into small dense matrices: the quickest way to filter in numpy."""
    # Sums of integers below 2**24 are exact in float32, whatever the order of the additions.
    largest = int(taps.weights.sum(axis=1).max()) * 255 + _half(taps)
    dtype = np.float32 if largest < 1 << 24 else np.float64
    for start in range(0, len(taps.first), _OUTPUTS_PER_BLOCK):
        writes = slice(start, min(start + _OUTPUTS_PER_BLOCK, len(taps.first)))
        low = int(taps.first[writes].min())
        high = int((taps.first + taps.count)[writes].max())
        band = np.zeros((high - low, writes.stop - start), dtype)
        for column, output in enumerate(range(start, writes.stop)):
            at, count = int(taps.first[output]) - low, int(taps.count[output])
            band[at : at + count, column] = taps.weights[output, :count]
        yield _Block(writes, slice(low, high), band)


def _half(taps: AxisFilter) -> int:
    """Return what to add to a weighted sum so that the shift rounds to nearest."""
    return (1 << taps.fraction_bits) >> 1


def _round_into(sums: np.ndarray, taps: AxisFilter, out: np.ndarray) -> None:
    """Write (sums + half) >> fraction_bits, saturated to uint8; `sums` holds exact integers."""
    sums += _half(taps)
    sums *= 2.0**-taps.fraction_bits
    np.minimum(sums, 255, out=sums)
    out[...] = sums  # the cast truncates, which is floor for what is never negative
