"""Whether an engine computes what PyTorch does: no engine is timed on wrong work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Largest relative error (root mean square) of an output that still is the same computation.
# bfloat16 has 8 bits, float16 11, and random weights damp nothing.
LIMITS = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


class WrongOutputsError(Exception):
    """The outputs are not those of PyTorch."""


@dataclass(frozen=True)
class Accuracy:
    """Errors against PyTorch float32, the largest over all outputs.

    Attributes:
        max_abs_error: of any element.
        relative_error: root mean square of the differences over that of the expected values.
    """

    max_abs_error: float
    relative_error: float


def compare(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> Accuracy:
    """Errors of outputs by name.

    Raises:
        WrongOutputsError: for a missing output, another shape, or a number that is not finite
            where the expected one is.
    """
    largest, relative = 0.0, 0.0
    for name, wanted in expected.items():
        if name not in actual or actual[name].shape != wanted.shape:
            shape = actual[name].shape if name in actual else "nothing"
            raise WrongOutputsError(f"{name} must be of shape {wanted.shape}, got {shape}")
        got, target = actual[name].astype(np.float64), wanted.astype(np.float64)
        if not np.array_equal(np.isfinite(got), np.isfinite(target)):
            raise WrongOutputsError(f"{name} is not finite")
        finite = np.isfinite(target)
        difference = np.abs(got[finite] - target[finite])
        largest = max(largest, float(difference.max(initial=0.0)))
        norm, error = np.linalg.norm(target[finite]), np.linalg.norm(difference)
        relative = max(relative, float(error / norm) if norm else float(error))
    return Accuracy(largest, relative)


def check(accuracy: Accuracy, precision: str) -> None:
    """Raise WrongOutputsError if the outputs are too far off for the precision."""
    limit = LIMITS[precision]
    if accuracy.relative_error > limit:
        raise WrongOutputsError(
            f"wrong outputs: relative error {accuracy.relative_error:.1e} against PyTorch's"
            f" float32, more than {limit:g}"
        )
