"""Box and point prompts, collected until they are reset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sam_tvm.runtime.errors import PromptError


@dataclass
class GeometricPrompt:
    """Boxes and points on one picture; coordinates are fractions of its width and height.

    Attributes:
        boxes: (centre x, centre y, width, height) each.
        boxes_labels: True where a box shows what is wanted, False where it shows what is not.
        points: (x, y) each.
        points_labels: as for boxes.

    """

    boxes: list[tuple[float, ...]] = field(default_factory=list)
    boxes_labels: list[bool] = field(default_factory=list)
    points: list[tuple[float, ...]] = field(default_factory=list)
    points_labels: list[bool] = field(default_factory=list)

    def append_box(self, box: Sequence[float], label: bool) -> None:
        """Add a box.

        Raises:
            PromptError: not four finite numbers, or no label.

        """
        checked = _numbers(box, 4, "a box needs centre x, centre y, width and height"), _bool(label)
        self.boxes.append(checked[0])
        self.boxes_labels.append(checked[1])

    def append_point(self, point: Sequence[float], label: bool) -> None:
        """Add a point.

        Raises:
            PromptError: not two finite numbers, or no label.

        """
        checked = _numbers(point, 2, "a point needs x and y"), _bool(label)
        self.points.append(checked[0])
        self.points_labels.append(checked[1])

    def copy(self) -> GeometricPrompt:
        """Return a prompt that can be added to without changing this one."""
        return GeometricPrompt(
            list(self.boxes), list(self.boxes_labels), list(self.points), list(self.points_labels)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the inputs of `ground` for one prompt (batch 1).

        Returns:
            points (n, 1, 2) and boxes (m, 1, 4) float32, points_labels (n, 1) and
            boxes_labels (m, 1) int64, points_mask (1, n) and boxes_mask (1, m) bool. The compiled
            function takes no empty sequence, so where there is nothing n or m is 1 and the mask
            is True, which means padding.

        """
        return {
            **_sequence("points", self.points, self.points_labels, 2),
            **_sequence("boxes", self.boxes, self.boxes_labels, 4),
        }


def _sequence(
    name: str, values: list[tuple[float, ...]], labels: list[bool], width: int
) -> dict[str, np.ndarray]:
    slots = max(1, len(values))
    filled = len(values)
    coordinates = np.zeros((slots, 1, width), np.float32)
    codes = np.zeros((slots, 1), np.int64)
    if values:
        coordinates[:, 0] = values
        codes[:, 0] = labels
    mask = np.arange(slots)[None, :] >= filled
    return {name: coordinates, f"{name}_labels": codes, f"{name}_mask": mask}


def _numbers(values: Sequence[float], count: int, need: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise PromptError(f"{need}, not {values!r}")
    return numbers


def _bool(label: Any) -> bool:
    if isinstance(label, (bool, np.bool_, int, np.integer)) and label in (0, 1):
        return bool(label)
    raise PromptError(f"a label is True (wanted) or False (not wanted), not {label!r}")
