"""Judging a reconstruction against the reference's: signs, arrays, Gaussians.

What is a matter of a sign (whether a voxel is occupied, a corner inside, a square split one way)
may differ where the sign lies within the measured float32 error of zero: where the float64
referee's value is no further from zero than PyTorch's float32 result is from the referee's at
most. Such values are excluded, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sam_tvm.pipeline.metrics import Comparison, compare, max_error

GAUSSIAN_TOLERANCE = 1e-4  # of an attribute's length


@dataclass(frozen=True)
class Signs:
    """How far ours and PyTorch's signs agree.

    Attributes:
        float32_error: the largest of PyTorch's against the referee.
        excluded: how many of the referee's values lie within that error of zero.
        flipped: of those, how many have another sign here.
        wrong: how many others have another sign here; infinity where a value is not finite.
    """

    float32_error: float
    excluded: int
    flipped: int
    wrong: int | float

    @property
    def passed(self) -> bool:
        """Whether all signs agree that count."""
        return self.wrong == 0

    def row(self) -> dict[str, Any]:
        """The figures for the report."""
        return asdict(self) if np.isfinite(self.wrong) else {**asdict(self), "wrong": None}


def judge_signs(ours: np.ndarray, torch32: np.ndarray, torch64: np.ndarray) -> Signs:
    """Compare the signs of values of equal shapes; zero counts as negative."""
    error = max_error(torch32, torch64)
    # Where PyTorch is exact (a constant beside what the network decided) nothing is excluded.
    near = (np.abs(torch64) <= error) & (torch32 != torch64)
    differ = (ours > 0) != (torch32 > 0)
    finite = np.isfinite(ours).all() and np.isfinite(error)
    wrong = int((differ & ~near).sum()) if finite else float("inf")
    return Signs(error, int(near.sum()), int((differ & near).sum()), wrong)


def relative_error(ours: np.ndarray, reference: np.ndarray) -> float:
    """Largest distance of rows (G, C), or values (G,), in units of the reference's length."""
    if ours.shape != reference.shape:
        return float("inf")
    rows = ours.reshape(len(ours), -1).astype(np.float64)
    wanted = reference.reshape(len(reference), -1).astype(np.float64)
    length = np.maximum(np.linalg.norm(wanted, axis=1), np.finfo(np.float32).tiny)
    errors = np.linalg.norm(rows - wanted, axis=1) / length
    return float(np.nan_to_num(errors, nan=np.inf, posinf=np.inf).max(initial=0.0))


def figures(comparison: Comparison) -> dict[str, Any]:
    """What the report says of an array."""
    names = ("passed_by", "max_abs_error", "error_vs_float64", "torch_error_vs_float64")
    row = {name: getattr(comparison, name) for name in names}
    row = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
    return {**row, "reason": comparison.reason} if comparison.reason else row


def judge_array(
    name: str, ours: np.ndarray, torch32: np.ndarray, torch64: np.ndarray
) -> dict[str, Any]:
    """Figures of an array that passes by tolerance or by the referee.

    NaN in the reference (pixels without depth) must be NaN in ours.
    """
    gaps = np.isnan(torch32)
    if gaps.any() and ours.shape == gaps.shape and (np.isnan(ours) == gaps).all():
        arrays = (ours, torch32, torch64)
        ours, torch32, torch64 = (np.where(gaps, 0, a).astype(a.dtype) for a in arrays)
    return figures(compare("", name, ours, torch32, torch64))


def judge_gaussians(
    name: str, ours: np.ndarray, torch32: np.ndarray, torch64: np.ndarray
) -> dict[str, Any]:
    """Figures of a Gaussians' attribute on the reference's own latents."""
    row = judge_array(name, ours, torch32, torch64)
    error = relative_error(ours, torch32)
    passed = error <= GAUSSIAN_TOLERANCE
    relative = error if np.isfinite(error) else None
    return {**row, "passed_by": "relative" if passed else None, "max_relative_error": relative}


def judge_voxels(
    ours: tuple[np.ndarray, np.ndarray],
    torch32: tuple[np.ndarray, np.ndarray],
    logits64: np.ndarray,
    reduce: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Figures of the occupied voxels.

    Args:
        ours: logits (S, S, S), and the voxels (N, 3) that were made of them.
        torch32: the same of PyTorch.
        logits64: the referee's.
        reduce: makes the voxels of those above zero, (K, 3): prunes and shrinks as the runtime.

    Returns:
        Counts, ``identical`` (the voxels are) and ``passed``: they are, or would be if the signs
        of excluded logits were PyTorch's.
    """
    signs = judge_signs(ours[0], torch32[0], logits64)
    row: dict[str, Any] = {"occupied": int((torch32[0] > 0).sum()), **signs.row()}
    row["voxels"] = len(torch32[1])
    row["identical"] = np.array_equal(ours[1], torch32[1])
    # Only excluded signs differ: with PyTorch's in their place the voxels are those of PyTorch's.
    same = signs.passed and np.array_equal(reduce(np.argwhere(torch32[0] > 0)), torch32[1])
    row["passed"] = row["identical"] if signs.flipped == 0 else same
    row["passed"] = bool(row["passed"] and signs.passed)
    return row
