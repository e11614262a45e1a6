"""Pointmaps: for each pixel of the picture the point in space that it shows.

A pointmap is (H, W, 3) in PyTorch3D's camera frame (x to the left, y up, z away from the camera),
as `InferencePipelinePointMap.run(pointmap=...)` of `sam3d_objects` takes it. Depth models such as
MoGe give OpenCV's frame (x to the right, y down): `from_opencv_camera` turns theirs.
Infinity marks a pixel without depth, as in MoGe's results.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.errors import PointmapError
from sam_tvm.runtime.reconstruction.resample import resize_nearest

# A pointmap of another size is of the same picture if its aspect ratio is, but for rounding.
_ASPECT_TOLERANCE = 0.02


class NormalisedPointmap(NamedTuple):
    """Points relative to the object: ``(point - shift) / scale``.

    Attributes:
        points: (3, H, W) float32; NaN where there is no depth.
        scale: (3,) float32, thrice the same number.
        shift: (3,) float32.

    """

    points: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def read_pointmap(path: str | Path) -> np.ndarray:
    """Read a pointmap from a ``.npy`` file.

    Raises:
        PointmapError: missing, or no array of numbers in numpy's format.

    """
    try:
        points = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise PointmapError(f"no pointmap at {path}") from None
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise PointmapError(f"{path} cannot be read as a .npy file: {reason}") from error
    if not isinstance(points, np.ndarray):  # an .npz archive
        points.close()
        raise PointmapError(f"{path} is an archive of arrays: save the pointmap alone as .npy")
    return points


def from_opencv_camera(points: np.ndarray) -> np.ndarray:
    """Turn (..., 3) points from OpenCV's camera frame into PyTorch3D's, or back."""
    return points * np.array([-1, -1, 1], points.dtype)


def to_planes(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Check a pointmap and fit it to a picture.

    Args:
        points: (h, w, 3) of any floating type. Another size than the picture's is brought to it by
            taking the nearest point, as the reference does.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Returns:
        (3, height, width) float32, NaN in all coordinates of pixels without depth.

    Raises:
        PointmapError: another shape or type, another aspect ratio than the picture's, or NaN.

    """
    if points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != "f" or not points.size:
        raise PointmapError(
            "a pointmap must be floating-point of shape (height, width, 3), "
            f"not {points.dtype} of shape {points.shape}"
        )
    missing = int(np.isnan(points).any(axis=2).sum())
    if missing:
        raise PointmapError(
            f"the pointmap has NaN at {missing} pixels: fill them, or write infinity where there "
            "is no depth"
        )
    aspect = points.shape[1] / points.shape[0] * height / width
    if abs(aspect - 1) > _ASPECT_TOLERANCE:
        raise PointmapError(
            f"the pointmap is {points.shape[1]} x {points.shape[0]}, the picture {width} x "
            f"{height}: they are not of the same view"
        )
    planes = resize_nearest(points.astype(np.float32).transpose(2, 0, 1), height, width)
    return np.where(np.isfinite(planes).all(axis=0), planes, np.float32(np.nan))


def normalise(planes: np.ndarray, mask: np.ndarray) -> NormalisedPointmap:
    """Centre a pointmap on the object, and scale it by the scene.

    The shift is the median point of the object, the scale the median over the scene of the points'
    largest distance from it along an axis: `ObjectCentricSSI` of
    `sam3d_objects/data/dataset/tdfy/img_and_mask_transforms.py` with ``use_scene_scale``.

    Args:
        planes: (3, H, W) float32, NaN where there is no depth.
        mask: (H, W) bool, the object.

    Raises:
        PointmapError: no pixel of the object has depth, or all points coincide.

    """
    inside = planes[:, mask]
    if not np.isfinite(inside).any():
        raise PointmapError(
            "the pointmap has no depth at any pixel of the mask: the object's place is unknown"
        )
    shift = np.array([_median(axis) for axis in inside], np.float32)
    centred = planes - shift[:, None, None]
    scale = _median(np.abs(centred).max(axis=0))
    if scale == 0:
        raise PointmapError("the pointmap's points coincide: it holds no scene")
    return NormalisedPointmap(centred / scale, np.full(3, scale, np.float32), shift)


def _median(values: np.ndarray) -> np.float32:
    """Return the lower median of what is not NaN, as ``torch.nanmedian`` does."""
    values = values[~np.isnan(values)]
    middle = (values.size - 1) // 2
    return np.partition(values, middle)[middle]
