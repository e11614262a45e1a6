"""The object's pose in the scene, from the pose latents of the first stage.

Follows `pose_decoder` of `sam3d_objects/pipeline/inference_utils.py` for the convention
ScaleShiftInvariant, the only one that the published checkpoint uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

# Statistics of the training set's rotations, first two columns of the matrix: constants of
# `inference_utils.py`, in no configuration file.
ROTATION_MEAN = np.array(
    [
        -0.06366084883674913,
        0.008438224692279752,
        0.00017084786438302483,
        0.0007126610473540038,
        -0.0030916726538816417,
        0.5166093753457688,
    ]
)
ROTATION_STD = np.array(
    [
        0.6656971967514863,
        0.6787012271867754,
        0.30345010594844524,
        0.4394504420678794,
        0.39817973931717104,
        0.6176286868761914,
    ]
)
_LEAST_NORM = 1e-12  # torch.nn.functional.normalize


@dataclass(frozen=True)
class Pose:
    """Where the object is in the camera's frame (PyTorch3D's: x left, y up, z away).

    A point p of the object, a row of three numbers, lies at ``(scale * p) @ R + translation``,
    where R is the rotation's matrix. This is the reference's convention, in which matrices follow
    rows of coordinates; `matrix` gives the usual one.

    Attributes:
        rotation: (4,) float32, a unit quaternion with its real part first and not negative.
        translation: (3,) float32, units of the pointmap.
        scale: (3,) float32, thrice the same number: the length of the object's unit.

    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: np.ndarray

    def rescaled(self, factor: float) -> Pose:
        """Return the pose of an object whose voxels were made coarser by `factor`."""
        return replace(self, scale=self.scale * np.float32(factor))

    def matrix(self) -> np.ndarray:
        """Return M, (4, 4) float64, that maps columns ``(x, y, z, 1)`` of the object."""
        matrix = np.eye(4)
        matrix[:3, :3] = quaternion_to_matrix(self.rotation).T * self.scale.astype(np.float64)
        matrix[:3, 3] = self.translation
        return matrix


def decode_pose(
    latents: Mapping[str, np.ndarray], scene_scale: np.ndarray, scene_shift: np.ndarray
) -> Pose:
    """Turn pose latents into a pose.

    Args:
        latents: "6drotation_normalized" (1, 1, 6), "translation" (1, 1, 3) and "scale" (1, 1, 3),
            float32; other names, "translation_scale" among them, are not used.
        scene_scale: (3,), thrice the same number, the pointmap's.
        scene_shift: (3,), the pointmap's.

    """
    rotation, translation, scale = (
        latents[name].reshape(-1).astype(np.float64)
        for name in ("6drotation_normalized", "translation", "scale")
    )
    scene = np.asarray(scene_scale, np.float64)
    return Pose(
        rotation=matrix_to_quaternion(_orthonormal(rotation * ROTATION_STD + ROTATION_MEAN)).astype(
            np.float32
        ),
        translation=(translation * scene + scene_shift).astype(np.float32),
        # The reference composes three scales and then takes their mean.
        scale=np.full(3, (np.exp(scale) * scene).mean(), np.float32),
    )


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Return the (3, 3) float64 matrix that rotates columns as a quaternion (4,), real part first.

    The quaternion need not be of unit length.
    """
    w, x, y, z = quaternion.astype(np.float64) / np.linalg.norm(quaternion.astype(np.float64))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def matrix_to_quaternion(matrix: np.ndarray) -> np.ndarray:
    """Return the quaternion (4,) float64 of a rotation (3, 3), real part first, not negative."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = matrix
    # Four times the products of the quaternion's elements: each row is the quaternion times one of
    # them, and the row of the largest loses no precision.
    products = np.array(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, yx + xy, xz + zx],
            [xz - zx, yx + xy, 1 - xx + yy - zz, zy + yz],
            [yx - xy, xz + zx, zy + yz, 1 - xx - yy + zz],
        ]
    )
    quaternion = products[np.argmax(np.diag(products))]
    quaternion = quaternion / np.linalg.norm(quaternion)
    return -quaternion if quaternion[0] < 0 else quaternion


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Return the rotation matrix whose first two columns are those of (6,), made orthonormal."""
    first = _unit(columns[:3])
    second = _unit(columns[3:] - (first @ columns[3:]) * first)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), _LEAST_NORM)
