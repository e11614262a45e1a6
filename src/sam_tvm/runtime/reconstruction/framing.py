"""The object's frame: the square around its mask, cut out of picture, mask and pointmap alike.

Follows `crop_around_mask_with_padding` and `compute_mask_bbox` of
`sam3d_objects/data/dataset/tdfy/img_and_mask_transforms.py`, and `pad_to_square_centered` of
`img_processing.py` beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.errors import MaskError

_LEAST_EXTENT = 2  # between the outermost pixels of the object, along each axis


class Box(NamedTuple):
    """Pixels from `left` to before `right`, `top` to before `bottom`; may reach outside."""

    left: int
    top: int
    right: int
    bottom: int


def object_box(mask: np.ndarray, size_factor: float) -> Box:
    """Return the square around an object.

    Args:
        mask: (H, W) bool.
        size_factor: the square's side, in units of the object's longer side.

    Raises:
        MaskError: the mask is empty, or less than 3 pixels wide or high.

    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise MaskError("the mask is empty: it must mark the object with values above 0")
    left, right, top, bottom = int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1])
    if min(right - left, bottom - top) < _LEAST_EXTENT:
        raise MaskError(
            f"the mask's object is {right - left + 1} x {bottom - top + 1} pixels; "
            f"at least {_LEAST_EXTENT + 1} x {_LEAST_EXTENT + 1} are needed"
        )
    half = int(max(right - left, bottom - top) * size_factor) // 2
    x, y = (left + right) / 2, (top + bottom) / 2
    # Truncation towards zero, as the reference has it: left of the picture's edge a box may be one
    # pixel narrower than high.
    return Box(int(x - half), int(y - half), int(x + half), int(y + half))


def crop(planes: np.ndarray, box: Box) -> np.ndarray:
    """Cut a box out of (C, H, W) planes; what lies outside of them is 0."""
    height, width = planes.shape[1:]
    inside = planes[:, max(box.top, 0) : max(box.bottom, 0), max(box.left, 0) : max(box.right, 0)]
    return _pad(
        inside,
        (max(-box.top, 0), max(box.bottom - height, 0)),
        (max(-box.left, 0), max(box.right - width, 0)),
        0.0,
    )


def pad_to_square(planes: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Pad (C, H, W) planes to (C, S, S) with S the longer side, the planes in the middle."""
    height, width = planes.shape[1:]
    side = max(height, width)
    rows, columns = side - height, side - width
    return _pad(planes, (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), fill)


def pad_margin(planes: np.ndarray, factor: float, fill: float) -> np.ndarray:
    """Pad (C, S, S) planes on all sides by `factor` of their side, rounded down."""
    margin = int(planes.shape[1] * factor)
    return _pad(planes, (margin, margin), (margin, margin), fill)


def frame(planes: np.ndarray, box: Box, padding_factor: float, fill: float) -> np.ndarray:
    """Cut a box out of (C, H, W) planes and make it square, with a margin if one is wanted.

    `fill` is the padding's value; between the planes' edge and the box's it is 0 nevertheless.
    """
    return pad_margin(pad_to_square(crop(planes, box), fill), padding_factor, fill)


def _pad(
    planes: np.ndarray, rows: tuple[int, int], columns: tuple[int, int], fill: float
) -> np.ndarray:
    if rows == columns == (0, 0):
        return planes
    return np.pad(planes, ((0, 0), rows, columns), constant_values=fill)
