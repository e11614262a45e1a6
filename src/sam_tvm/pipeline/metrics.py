"""Comparing outputs: what passes, and how far off the worst element is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

RTOL = 1e-5
ATOL = 1e-5
# An output outside the tolerance passes if it is at most this many times as far from the float64
# referee as PyTorch's own float32 result is.
REFEREE_FACTOR = 2.0
TINY = np.finfo(np.float32).tiny  # below this, a relative error says nothing


@dataclass(frozen=True)
class Comparison:
    """One output of one case; field names are the report's."""

    case: str
    name: str
    passed_by: str | None
    shape: list[int]
    dtype: str
    max_abs_error: float
    mean_abs_error: float
    max_rel_error: float
    within_tolerance: bool
    error_vs_float64: float
    torch_error_vs_float64: float
    worst_index: list[int]
    reason: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the output is accepted."""
        return self.passed_by is not None


def max_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference in float64; infinite where one is not finite and they differ."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    same = actual == expected
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(actual - expected))
    difference = np.where(np.isnan(difference), np.inf, difference)
    return float(difference.max(initial=0.0))


def _failure(
    case: str, name: str, actual: np.ndarray, reason: str, nan: float = float("nan")
) -> Comparison:
    return Comparison(
        case, name, None, list(actual.shape), actual.dtype.name,
        nan, nan, nan, False, nan, nan, [], reason,
    )  # fmt: skip


def compare(
    case: str,
    name: str,
    actual: np.ndarray,
    torch32: np.ndarray,
    torch64: np.ndarray,
    peer: np.ndarray | None = None,
) -> Comparison:
    """Compare TVM's output with PyTorch's and the referee's.

    `peer` is PyTorch's result in the precision of `actual`, where that is not float32. An output
    passes by ``tolerance`` (every element within rtol and atol of PyTorch float32) or by
    ``float64`` (its largest error against the referee is at most `REFEREE_FACTOR` times
    PyTorch's in the same precision). NaN, and a shape or type that differs, never pass; masks
    must be equal.
    """
    if actual.shape != torch32.shape or actual.dtype != torch32.dtype:
        expected = f"{torch32.dtype.name}{list(torch32.shape)}"
        got = f"{actual.dtype.name}{list(actual.shape)}"
        return _failure(case, name, actual, f"expected {expected}, got {got}")
    if np.isnan(np.asarray(actual, np.float64)).any():
        return _failure(case, name, actual, "the output holds NaN")
    wide, reference = np.asarray(actual, np.float64), np.asarray(torch32, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(wide == reference, 0.0, np.abs(wide - reference))
        magnitude = np.abs(reference)
        relative = np.where(difference > 0, difference / np.maximum(magnitude, TINY), 0.0)
    close = bool(np.allclose(wide, reference, rtol=RTOL, atol=ATOL))
    ours, theirs = max_error(actual, torch64), max_error(torch32 if peer is None else peer, torch64)
    exact = actual.dtype.kind not in "fc"
    passed_by = None
    if (exact and np.array_equal(actual, torch32)) or (not exact and close):
        passed_by = "tolerance"
    elif not exact and np.isfinite(ours) and ours <= REFEREE_FACTOR * theirs:
        passed_by = "float64"
    worst = np.unravel_index(int(difference.argmax()), difference.shape) if difference.size else ()
    return Comparison(
        case=case,
        name=name,
        passed_by=passed_by,
        shape=list(actual.shape),
        dtype=actual.dtype.name,
        max_abs_error=float(difference.max(initial=0.0)),
        mean_abs_error=float(difference.mean()) if difference.size else 0.0,
        max_rel_error=float(relative.max(initial=0.0)),
        within_tolerance=close,
        error_vs_float64=ours,
        torch_error_vs_float64=theirs,
        worst_index=[int(i) for i in worst],
    )


def as_row(comparison: Comparison) -> dict[str, Any]:
    """A comparison as the report writes it; NaN is not JSON, so it becomes null."""
    row = dict(vars(comparison))
    if row["reason"] is None:
        del row["reason"]
    return {
        key: None if isinstance(value, float) and not np.isfinite(value) else value
        for key, value in row.items()
    }
