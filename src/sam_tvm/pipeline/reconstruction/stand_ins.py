"""What `sam3d_objects` imports around its networks and cannot have here: pytorch3d, matplotlib.

No wheel of pytorch3d exists; its part is small, public mathematics, which the tests of the runtime
check against scipy. Of matplotlib nothing is used.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def quaternion_to_matrix(quaternions: Tensor) -> Tensor:
    """Quaternions (..., 4), real part first, to matrices (..., 3, 3) that rotate columns."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Matrices (..., 3, 3) to unit quaternions (..., 4), whose real part is first, not negative.

    As the eigenvector of Bar-Itzhack's matrix: another way than the runtime's.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (
        row.unbind(-1) for row in matrix.double().unbind(-2)
    )
    rows = [
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ]
    _, vectors = torch.linalg.eigh(torch.stack([torch.stack(row, -1) for row in rows], -2))
    quaternion = vectors[..., -1].roll(1, -1).to(matrix.dtype)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


class Transform3d:
    """A (1, 4, 4) or (B, 4, 4) matrix that follows rows of points."""

    def __init__(
        self, dtype: Any = torch.float32, device: Any = "cpu", matrix: Tensor | None = None
    ) -> None:
        self.matrix = torch.eye(4, dtype=dtype)[None] if matrix is None else matrix

    def get_matrix(self) -> Tensor:
        """The matrix."""
        return self.matrix

    def compose(self, *others: Transform3d) -> Transform3d:
        """This one, then the others."""
        matrix = self.matrix
        for other in others:
            matrix = matrix @ other.matrix
        return Transform3d(matrix=matrix)

    def inverse(self) -> Transform3d:
        """What undoes it."""
        return Transform3d(matrix=torch.inverse(self.matrix))

    def to(self, device: Any) -> Transform3d:
        """Itself: there is one device."""
        return self

    def scale(self, factors: Tensor) -> Transform3d:
        """This one, then a scaling by (B, 3) factors."""
        ones = torch.ones(len(factors), 1, dtype=factors.dtype)
        return self.compose(Transform3d(matrix=torch.diag_embed(torch.cat([factors, ones], 1))))

    def rotate(self, rotation: Tensor) -> Transform3d:
        """This one, then (B, 3, 3) matrices that follow rows."""
        matrix = torch.eye(4, dtype=rotation.dtype).repeat(len(rotation), 1, 1)
        matrix[:, :3, :3] = rotation
        return self.compose(Transform3d(matrix=matrix))

    def translate(self, offset: Tensor) -> Transform3d:
        """This one, then a shift by (B, 3)."""
        matrix = torch.eye(4, dtype=offset.dtype).repeat(len(offset), 1, 1)
        matrix[:, 3, :3] = offset
        return self.compose(Transform3d(matrix=matrix))

    def transform_points(self, points: Tensor) -> Tensor:
        """Points (N, 3) or (B, N, 3), moved."""
        rows = torch.cat([points, torch.ones_like(points[..., :1])], -1)
        moved = (rows[None] if points.ndim == 2 else rows) @ self.matrix
        return (moved[..., :3] / moved[..., 3:]).reshape(points.shape)


def _pytorch3d() -> dict[str, ModuleType]:
    transforms: Any = ModuleType("pytorch3d.transforms")
    transforms.Transform3d = Transform3d
    transforms.quaternion_to_matrix = quaternion_to_matrix
    transforms.matrix_to_quaternion = matrix_to_quaternion
    for unused in ("Rotate", "Translate", "Scale", "axis_angle_to_quaternion"):
        setattr(transforms, unused, None)
    return {"pytorch3d": ModuleType("pytorch3d"), "pytorch3d.transforms": transforms}


def _matplotlib() -> dict[str, ModuleType]:
    package: Any = ModuleType("matplotlib")
    package.pyplot = ModuleType("matplotlib.pyplot")
    return {"matplotlib": package, "matplotlib.pyplot": package.pyplot}


@contextmanager
def stand_ins() -> Iterator[None]:
    """Provide what is not installed of pytorch3d and matplotlib; on exit all is as before."""
    made: dict[str, ModuleType] = {}
    for name, modules in {"pytorch3d": _pytorch3d, "matplotlib": _matplotlib}.items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            made.update(modules())
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)
