"""How good answers are, against what is really there: F1, mask IoU, and saying "not there"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

FOUND = 0.5  # the least IoU of a mask with an object that it has found
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 17))


@dataclass(frozen=True)
class Answer:
    """What one prompt was answered with.

    Attributes:
        scores: (K,) of the detections, down to any threshold that is to be tried.
        overlaps: (K, G), IoU of each detection's mask with each object that is asked for.
    """

    scores: np.ndarray
    overlaps: np.ndarray


@dataclass(frozen=True)
class Quality:
    """Figures of a set of answers at one threshold.

    Attributes:
        f1: harmonic mean of precision and recall; an object is found by the detection that is
            matched to it with an IoU of at least `FOUND`.
        mean_iou: mean over all objects that are asked for of the IoU of the detection that
            found it, 0 where none did.
        absent_accuracy: of the prompts that ask for nothing that is there, those without any
            detection; NaN if there are no such prompts.
    """

    f1: float
    mean_iou: float
    absent_accuracy: float


def mask_overlaps(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of masks (K, H, W) with masks (G, H, W), both bool: (K, G)."""
    if not len(masks) or not len(truth):
        return np.zeros((len(masks), len(truth)), np.float32)
    said = masks.reshape(len(masks), -1).astype(np.float32)
    true = truth.reshape(len(truth), -1).astype(np.float32)
    shared = said @ true.T
    return shared / np.maximum(said.sum(1)[:, None] + true.sum(1)[None] - shared, 1)


def quality(answers: Sequence[Answer], threshold: float) -> Quality:
    """The figures of `answers`, of whose detections those with a higher score count."""
    found: list[float] = []
    detections, absent = 0, []
    for answer in answers:
        kept = answer.scores > threshold
        if not answer.overlaps.shape[1]:
            absent.append(not kept.any())
            continue
        detections += int(kept.sum())
        found += _found(answer.overlaps[kept])
    right = sum(iou > 0 for iou in found)
    return Quality(
        f1=2 * right / max(1, detections + len(found)),
        mean_iou=float(np.mean(found)) if found else 0.0,
        absent_accuracy=float(np.mean(absent)) if absent else float("nan"),
    )


def _found(overlaps: np.ndarray) -> list[float]:
    """By object, the IoU of the detection that found it, or 0."""
    found = np.zeros(overlaps.shape[1])
    if len(overlaps):
        detections, objects = linear_sum_assignment(overlaps, maximize=True)
        found[objects] = overlaps[detections, objects]
    return [float(iou) if iou >= FOUND else 0.0 for iou in found]


def best_threshold(answers: Sequence[Answer]) -> float:
    """The threshold with the highest sum of F1 and accuracy in saying "not there"."""
    figures = {threshold: quality(answers, threshold) for threshold in THRESHOLDS}
    return max(THRESHOLDS, key=lambda t: figures[t].f1 + np.nan_to_num(figures[t].absent_accuracy))
