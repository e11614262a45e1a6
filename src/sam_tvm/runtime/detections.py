"""Raw outputs of the model -> masks, boxes and scores on the picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sam_tvm.runtime.masks import sigmoid, upsample_probabilities


def detections(
    outputs: Mapping[str, np.ndarray], threshold: float, height: int, width: int, threads: int = 1
) -> dict[str, np.ndarray]:
    """Keep what scores above a threshold, in the order of the queries.

    Follows `Sam3Processor._forward_grounding`.

    Args:
        outputs: of `ground` with batch 1: pred_logits (1, Q, 1), presence_logit (1, 1),
            pred_boxes (1, Q, 4) cxcywh as fractions, pred_masks (1, Q, h, w) logits; float32.
        threshold: for the score, which is the object's probability times the presence's.
        height: of the picture, pixels.
        width: of the picture, pixels.
        threads: that work at once, each on a mask.

    Returns:
        masks_logits (N, 1, height, width) float32 (probabilities in spite of the name, which is
        the processor's), masks bool of the same shape, boxes (N, 4) float32 xyxy in pixels,
        scores (N,) float32.

    """
    presence = sigmoid(outputs["presence_logit"])[:, None]
    scores = (sigmoid(outputs["pred_logits"]) * presence)[0, :, 0]
    keep = scores > np.float32(threshold)
    probabilities = upsample_probabilities(outputs["pred_masks"][0, keep], height, width, threads)
    corners = _corners(outputs["pred_boxes"][0, keep])
    return {
        "masks_logits": probabilities,
        "masks": probabilities > np.float32(0.5),
        "boxes": corners * np.array([width, height, width, height], np.float32),
        "scores": scores[keep],
    }


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Turn (N, 4) centre and size into two corners."""
    centre, half = boxes[:, :2], np.float32(0.5) * boxes[:, 2:]
    return np.concatenate([centre - half, centre + half], axis=1)
