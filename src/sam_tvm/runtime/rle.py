"""Masks as COCO's compressed run lengths, as pycocotools writes and reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

_BITS = 5  # of a number in each character
_MOST_CHARACTERS = 13  # of an int64
_MORE, _SIGN = 0x20, 0x10
_FIRST_CHARACTER = 48


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask as pycocotools' ``encode`` does.

    Args:
        mask: (H, W) bool.

    Returns:
        ``size`` [H, W], ``counts`` a string: the lengths of runs down the columns, the first of
        them outside of the mask.

    """
    height, width = mask.shape
    return {"size": [int(height), int(width)], "counts": compress_counts(run_lengths(mask))}


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Lengths of the runs of a mask, column by column: outside, inside, outside, and so on.

    Args:
        mask: (H, W) bool.

    Returns:
        (runs,) int64; the first is 0 where the mask begins at its first pixel.

    """
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(ends, prepend=0, append=flat.size)
    return np.insert(counts, 0, 0) if flat.size and flat[0] else counts


def compress_counts(counts: np.ndarray) -> str:
    """Write run lengths as text.

    From the fourth on each is written as its difference to the one but one before. A number is
    written in two's complement, 5 bits a character, the lowest first.

    Args:
        counts: (runs,) int64.

    """
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    characters = np.zeros((len(rest), _MOST_CHARACTERS), np.uint8)
    lengths = np.zeros(len(rest), np.int64)
    pending = np.arange(len(rest))
    for position in range(_MOST_CHARACTERS):
        if not len(pending):
            break
        low = rest & 0x1F
        rest = rest >> _BITS
        more = np.where(low & _SIGN, rest != -1, rest != 0)
        characters[pending, position] = low + np.where(more, _MORE, 0) + _FIRST_CHARACTER
        lengths[pending] = position + 1
        pending, rest = pending[more], rest[more]
    written = np.arange(_MOST_CHARACTERS) < lengths[:, None]
    return characters[written].tobytes().decode("ascii")
