"""Detections of one round of prompts: stored, thresholded, compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Limits of the end-to-end comparison.
MIN_MASK_IOU = 0.999
MAX_BOX_ERROR_PX = 0.5
MAX_SCORE_ERROR = 1e-4
PEER_MARGIN = 0.02  # of mean mask overlap


@dataclass(frozen=True)
class Counted:
    """What the reference must find in a round for the round to be a test.

    Attributes:
        fewest: detections.
        most: detections.
        shaped: no mask may be empty or full.
        sure: the score of a detection that lower precisions and rounded weights have to find again.
    """

    fewest: int
    most: int
    shaped: bool
    sure: float


NOTHING = Counted(0, 0, shaped=False, sure=0.0)
# Scores of random weights lie close together: any number of objects can be had.
OF_RANDOM_WEIGHTS = Counted(5, 100, shaped=True, sure=0.0)
# Real weights give what they do not know scores near 0, and masks of a few pixels.
OF_REAL_WEIGHTS = Counted(1, 100, shaped=False, sure=0.5)
# What weights find in pictures of a kind that they were never trained on hangs by every rounding.
OF_UNKNOWN_PICTURES = replace(OF_REAL_WEIGHTS, sure=math.inf)


def counted(empty: bool, random: bool, known: bool = True) -> Counted:
    """What is asked of a round's reference.

    Args:
        empty: nothing may be found.
        random: the weights are random.
        known: they were trained on pictures of this kind.
    """
    if empty:
        return NOTHING
    if random:
        return OF_RANDOM_WEIGHTS
    return OF_REAL_WEIGHTS if known else OF_UNKNOWN_PICTURES


@dataclass(frozen=True)
class Detections:
    """What a processor found.

    Attributes:
        masks: (N, H, W) bool.
        boxes: (N, 4) float32, xyxy in pixels.
        scores: (N,) float32.
    """

    masks: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def widest_gap_threshold(scores: np.ndarray, wanted: Counted) -> float:
    """A threshold in the widest gap between scores, so that float error cannot cross it.

    Args:
        scores: all queries' scores, (Q,).
        wanted: how many are to lie above it.
    """
    ranked = np.sort(np.asarray(scores, np.float64))[::-1]
    if not wanted.most:
        return float((1 + ranked[0]) / 2)
    first, last = wanted.fewest - 1, min(wanted.most, len(ranked) - 1)
    gaps = ranked[first:last] - ranked[first + 1 : last + 1]
    index = first + int(gaps.argmax())
    return float((ranked[index] + ranked[index + 1]) / 2)


def mask_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of masks pairwise, (N,); two empty masks agree."""
    axes = tuple(range(1, first.ndim))
    union = np.logical_or(first, second).sum(axes)
    intersection = np.logical_and(first, second).sum(axes)
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def why_not_counted(reference: Detections, wanted: Counted) -> str | None:
    """Why a reference result is no test: too few or too many objects, empty or full masks."""
    count = len(reference.scores)
    if not wanted.fewest <= count <= wanted.most:
        return f"the reference found {count} objects, not {wanted.fewest} to {wanted.most}"
    if not wanted.shaped:
        return None
    share = reference.masks.reshape(count, -1).mean(1)
    trivial = int(((share == 0) | (share == 1)).sum())
    return f"{trivial} of the reference's masks are empty or full" if trivial else None


def compare_detections(ours: Detections, reference: Detections, wanted: Counted) -> dict[str, Any]:
    """The report's figures for one round.

    Queries keep their order in both, so equal counts with near-equal boxes are the same set.
    """
    row: dict[str, Any] = {
        "detections": len(reference.scores),
        "passed": False,
        "mask_iou_min": None,
        "same_detections": len(ours.scores) == len(reference.scores),
        "max_box_error_px": None,
        "max_score_error": None,
    }
    if not row["same_detections"]:
        return {**row, "reason": f"found {len(ours.scores)} objects"}
    ious = mask_ious(ours.masks, reference.masks)
    row["mask_iou_min"] = float(ious.min(initial=1.0))
    row["max_box_error_px"] = float(np.abs(ours.boxes - reference.boxes).max(initial=0.0))
    row["max_score_error"] = float(np.abs(ours.scores - reference.scores).max(initial=0.0))
    within = (
        row["mask_iou_min"] >= MIN_MASK_IOU
        and row["max_box_error_px"] <= MAX_BOX_ERROR_PX
        and row["max_score_error"] <= MAX_SCORE_ERROR
    )
    reason = why_not_counted(reference, wanted) or (None if within else "outside the limits")
    row["passed"] = reason is None
    return row if reason is None else {**row, "reason": reason}


def best_ious(found: Detections, reference: Detections) -> np.ndarray:
    """For each mask of the reference the largest overlap with any that was found, (N,)."""
    if not len(reference.scores):
        return np.ones(0)
    if not len(found.scores):
        return np.zeros(len(reference.scores))
    pairs = [mask_ious(found.masks, mask[None]) for mask in reference.masks]
    return np.stack(pairs).max(axis=1)


def compare_with_peer(
    ours: Detections, peer: Detections, reference: Detections, wanted: Counted
) -> dict[str, Any]:
    """The report's figures for one round in a precision below float32.

    Rounding may move a score across the threshold and a mask's edge by pixels, for PyTorch too:
    a round passes if our masks overlap with those of float32 at least as well as the masks of
    PyTorch in the same precision (`peer`) do, but for `PEER_MARGIN`.
    """
    overlaps, peers = best_ious(ours, reference), best_ious(peer, reference)
    row: dict[str, Any] = {
        "detections": len(reference.scores),
        "passed": False,
        "mask_iou_min": float(overlaps.min(initial=1.0)),
        "mask_iou_mean": float(overlaps.mean()) if len(overlaps) else 1.0,
        "torch_mask_iou_min": float(peers.min(initial=1.0)),
        "torch_mask_iou_mean": float(peers.mean()) if len(peers) else 1.0,
        "same_detections": len(ours.scores) == len(reference.scores),
        "torch_same_detections": len(peer.scores) == len(reference.scores),
        "max_box_error_px": None,
        "max_score_error": None,
    }
    if row["same_detections"]:
        row["max_box_error_px"] = float(np.abs(ours.boxes - reference.boxes).max(initial=0.0))
        row["max_score_error"] = float(np.abs(ours.scores - reference.scores).max(initial=0.0))
    sure = reference.scores >= wanted.sure
    close = not sure.any() or overlaps[sure].mean() >= peers[sure].mean() - PEER_MARGIN
    alike = row["same_detections"] or not row["torch_same_detections"] or not np.all(sure)
    reason = why_not_counted(reference, wanted)
    if not (close and alike):
        reason = reason or "further from float32 than PyTorch's autocast"
    row["passed"] = reason is None
    return row if reason is None else {**row, "reason": reason}
