"""How a bundle whose weights are rounded to int8 is judged: by the overlap of its masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from sam_tvm.pipeline.detections import Counted, Detections, best_ious, why_not_counted

MIN_MEAN_IOU = 0.9


def compare_rounded(ours: Detections, reference: Detections, wanted: Counted) -> dict[str, Any]:
    """The report's figures for one round of a bundle with rounded weights.

    Rounding may move a score across the threshold and a mask's edge by pixels: a round passes if
    the masks of the float32 reference are found again with a mean overlap of `MIN_MEAN_IOU`, those
    alone of which it is sure enough.
    """
    overlaps = best_ious(ours, reference)
    sure = overlaps[reference.scores >= wanted.sure]
    row: dict[str, Any] = {
        "detections": len(reference.scores),
        "passed": False,
        "mask_iou_min": float(overlaps.min(initial=1.0)),
        "mask_iou_mean": float(overlaps.mean()) if len(overlaps) else 1.0,
        "same_detections": len(ours.scores) == len(reference.scores),
        "max_box_error_px": None,
        "max_score_error": None,
    }
    if row["same_detections"]:
        row["max_box_error_px"] = float(np.abs(ours.boxes - reference.boxes).max(initial=0.0))
        row["max_score_error"] = float(np.abs(ours.scores - reference.scores).max(initial=0.0))
    reason = why_not_counted(reference, wanted)
    if len(sure) and sure.mean() < MIN_MEAN_IOU:
        reason = reason or f"masks overlap by less than {MIN_MEAN_IOU} with those of float32"
    row["passed"] = reason is None
    return row if reason is None else {**row, "reason": reason}
