"""Functions of float32 arrays, rounded once.

They are computed in float64: numpy's own float32 kernels err by a few units in the last place,
and weights that compare equal in the reference have to compare equal here.
"""

from __future__ import annotations

import numpy as np

_ONE = np.float32(1)


def tanh(x: np.ndarray) -> np.ndarray:
    """Hyperbolic tangent of a float32 array of any shape, float32."""
    return np.tanh(x, dtype=np.float64).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of a float32 array of any shape, float32, as torch composes it."""
    with np.errstate(over="ignore"):  # to infinity, whose inverse is 0
        return _ONE / (_ONE + np.exp(-x, dtype=np.float64).astype(np.float32))
