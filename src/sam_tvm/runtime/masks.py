"""Mask logits at the decoder's resolution -> mask probabilities at the picture's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BLOCK_VALUES = 1 << 18  # values worked on at a time: a few of these fit in a core's cache


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function of a float32 array, in float32."""
    result = np.negative(logits)
    with np.errstate(over="ignore"):  # exp overflows to infinity, and the quotient is right: 0
        np.exp(result, out=result)
    result += 1
    return np.divide(1, result, out=result)


def upsample_probabilities(
    logits: np.ndarray, height: int, width: int, threads: int = 1
) -> np.ndarray:
    """Interpolate mask logits and apply the logistic function.

    Equal, within float32 rounding, to ``torch.nn.functional.interpolate(mode="bilinear",
    align_corners=False)`` followed by ``sigmoid``. Works on a few rows at a time, so that it needs
    hardly more memory than its result.

    Args:
        logits: (N, h, w) float32.
        height: of the picture, pixels.
        width: of the picture, pixels.
        threads: that work at once, each on a mask; numpy lets others run while it computes.

    Returns:
        (N, 1, height, width) float32 in [0, 1].

    """
    count, rows, columns = logits.shape
    top, bottom, down = _axis_neighbours(rows, height)
    left, right, along = _axis_neighbours(columns, width)
    step = max(1, _BLOCK_VALUES // width)
    result = np.empty((count, 1, height, width), np.float32)

    def upsample(mask: np.ndarray, probabilities: np.ndarray) -> None:
        wide = _mix(mask[:, left], mask[:, right], along)
        for start in range(0, height, step):
            part = slice(start, min(start + step, height))
            block = _mix(wide[top[part]], wide[bottom[part]], down[part, None])
            probabilities[part] = sigmoid(block)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(upsample, logits, result[:, 0]))  # raises what a mask's thread raised
    return result


def _axis_neighbours(inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output: the two inputs it lies between, and how far it is from the first."""
    # PyTorch's kernel computes positions in float32 with a fused multiply-add, i.e. rounded once.
    scale = np.float64(np.float32(inputs) / np.float32(outputs))
    position = (scale * (np.arange(outputs) + 0.5) - 0.5).astype(np.float32)
    position = np.maximum(position, np.float32(0))
    first = np.minimum(position.astype(np.int64), inputs - 1)
    second = np.minimum(first + 1, inputs - 1)
    return first, second, (position - first).clip(0, 1).astype(np.float32)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return ``(1 - weight) * first + weight * second``; both arguments are overwritten."""
    first *= np.float32(1) - weight
    second *= weight
    first += second
    return first
