"""The detector's objectives: scores, boxes, presence and masks.

Scores are trained by the IoU-aware cross-entropy of Cai et al., "Align-DETR" (2023), boxes by
their L1 distance and generalised IoU, presence and masks by cross-entropy, masks by dice as well;
predictions are matched to objects one to one, a second set of queries one to several, by `sam3`'s
Hungarian matcher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sam_tvm.scenes.drawing import Scene
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.training.forward import Predictions

WEIGHTS = {
    **{"score": 4.0, "l1": 5.0, "giou": 2.0, "presence": 3.0},
    **{"mask": 16.0, "dice": 4.0, "semantic": 16.0, "semantic_dice": 4.0},
}
SHARE_OF_SCORE = 0.25  # of the score in the target of a matched query; the IoU has the rest
REPEATS = 3  # copies of each object that the second set of queries is matched to


@dataclass(frozen=True)
class Targets:
    """What N prompts ask for.

    Attributes:
        counts: (N,) int64, objects of each prompt.
        boxes: (sum of counts, 4) cx, cy, w, h as fractions of the picture.
        masks: (sum of counts, m, m) of 0 to 1.
    """

    counts: Tensor
    boxes: Tensor
    masks: Tensor

    @property
    def padded(self) -> Tensor:
        """The boxes as (N, most objects, 4), zeros where there are fewer."""
        most = max(1, int(self.counts.max()))
        padded = self.boxes.new_zeros(len(self.counts), most, 4)
        padded[torch.arange(most) < self.counts[:, None]] = self.boxes
        return padded

    @property
    def semantic(self) -> Tensor:
        """(N, m, m): the union of each prompt's masks, of 0 to 1."""
        union = self.masks.new_zeros(len(self.counts), *self.masks.shape[1:])
        prompts = torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)
        return union.index_add_(0, prompts, self.masks).clamp_(max=1)


def make_targets(
    scenes: list[Scene], prompts: list[list[TrainingPrompt]], mask_side: int
) -> Targets:
    """Targets of the prompts about each scene, masks averaged down to `mask_side`."""
    counts, boxes, masks = [], [np.zeros((0, 4), np.float32)], []
    for scene, own in zip(scenes, prompts, strict=True):
        for prompt in own:
            counts.append(len(prompt.wanted))
            boxes += [scene.box(index)[None] for index in prompt.wanted]
            masks += [scene.mask(index) for index in prompt.wanted]
    side = scenes[0].owner.shape[0]
    whole = torch.from_numpy(np.stack(masks) if masks else np.zeros((0, side, side)))
    small = F.avg_pool2d(whole.float(), side // mask_side)
    return Targets(torch.tensor(counts), torch.from_numpy(np.concatenate(boxes)), small)


@dataclass(frozen=True)
class Matches:
    """Matched pairs: rows and queries of predictions, and objects among the targets."""

    rows: Tensor
    queries: Tensor
    objects: Tensor


def match(logits: Tensor, boxes: Tensor, targets: Targets, repeats: int = 1) -> Matches:
    """Match the predictions (layers N, queries) of all layers with the targets of N prompts."""
    from sam3.train.matcher import BinaryHungarianMatcherV2

    matcher = BinaryHungarianMatcherV2(cost_class=2, cost_bbox=5, cost_giou=2, focal=True)
    layers = len(logits) // len(targets.counts)
    rows, queries, objects = matcher(
        {"pred_logits": logits.detach()[..., None], "pred_boxes": boxes.detach()},
        {"num_boxes": targets.counts, "boxes_padded": targets.padded},
        repeats=repeats,
        repeat_batch=layers,
    )
    if objects is None:  # every copy of an object was matched, in the order of the objects
        objects = _all_objects(targets.counts.repeat(layers), repeats)
    return Matches(rows, queries, objects % max(1, len(targets.boxes)))


def _all_objects(counts: Tensor, repeats: int) -> Tensor:
    ends = counts.cumsum(0)
    spans = [
        torch.arange(int(end - count), int(end)).repeat(repeats)
        for end, count in zip(ends, counts, strict=True)
    ]
    return torch.cat(spans)


def score_loss(logits: Tensor, matches: Matches, iou: Tensor) -> Tensor:
    """Sum of the IoU-aware cross-entropy: matched queries aim at score^0.25 IoU^0.75."""
    scores = logits.detach().sigmoid()
    target, weight = torch.zeros_like(logits), scores**2
    at = (matches.rows, matches.queries)
    target[at] = (scores[at] ** SHARE_OF_SCORE * iou ** (1 - SHARE_OF_SCORE)).clamp(0.01, 1)
    weight[at] = 1.0
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()


def box_overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al., 2019) of pairs of boxes (K, 4) cx, cy, w, h."""
    low1, high1 = first[:, :2] - first[:, 2:] / 2, first[:, :2] + first[:, 2:] / 2
    low2, high2 = second[:, :2] - second[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2
    shared = (torch.min(high1, high2) - torch.max(low1, low2)).clamp(min=0).prod(1)
    union = (first[:, 2:].prod(1) + second[:, 2:].prod(1) - shared).clamp(min=1e-6)
    hull = (torch.max(high1, high2) - torch.min(low1, low2)).prod(1).clamp(min=1e-6)
    iou = shared / union
    return iou, iou - (hull - union) / hull


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over the masks (K, m, m) of one minus the dice coefficient (Milletari et al., 2016)."""
    said, true = logits.sigmoid().flatten(1), masks.flatten(1)
    return (1 - (2 * (said * true).sum(1) + 1) / (said.sum(1) + true.sum(1) + 1)).mean()


def detection_losses(
    predictions: Predictions, targets: Targets, masked: Tensor
) -> dict[str, Tensor]:
    """Unweighted losses by the keys of `WEIGHTS`.

    `masked` are the prompts, (M,) int64, that the predictions have masks of.
    """
    queries = predictions.masks.shape[1]
    first = predictions.logits[..., :queries], predictions.boxes[..., :queries, :]
    losses, matches = _query_losses(*first, targets)
    second = predictions.logits[..., queries:], predictions.boxes[..., queries:, :]
    for name, loss in _query_losses(*second, targets, REPEATS)[0].items():
        losses[name] = losses[name] + loss
    there = (targets.counts > 0).float().expand_as(predictions.presence)
    presence = F.binary_cross_entropy_with_logits(predictions.presence, there, reduction="none")
    losses["presence"] = presence.mean(1).sum()
    return losses | _mask_losses(predictions, targets, matches, masked)


def _query_losses(
    logits: Tensor, boxes: Tensor, targets: Targets, repeats: int = 1
) -> tuple[dict[str, Tensor], Matches]:
    """Losses of one set of queries, summed over the layers; and its matches."""
    flat_logits, flat_boxes = logits.flatten(0, 1), boxes.flatten(0, 1)
    matches = match(flat_logits, flat_boxes, targets, repeats)
    said, true = flat_boxes[matches.rows, matches.queries], targets.boxes[matches.objects]
    iou, giou = box_overlaps(said, true)
    count = max(1, len(targets.boxes) * repeats)
    losses = {
        "score": score_loss(flat_logits, matches, iou.detach()) / count,
        "l1": (said - true).abs().sum() / count,
        "giou": (1 - giou).sum() / count,
    }
    return losses, matches


def _mask_losses(
    predictions: Predictions, targets: Targets, matches: Matches, masked: Tensor
) -> dict[str, Tensor]:
    """Losses of the last layer's masks, and of the semantic ones."""
    prompts = len(targets.counts)
    row_of = torch.full((prompts,), -1).index_put_((masked,), torch.arange(len(masked)))
    last = matches.rows - (predictions.logits.shape[0] - 1) * prompts
    used = (last >= 0) & (row_of[last.clamp(min=0)] >= 0)
    said = predictions.masks[row_of[last[used]], matches.queries[used]]
    true = targets.masks[matches.objects[used]]
    semantic = targets.semantic[masked]
    there = targets.counts[masked] > 0
    losses = {
        "semantic": F.binary_cross_entropy_with_logits(predictions.semantic, semantic),
        "mask": said.sum() * 0,
        "dice": said.sum() * 0,
        "semantic_dice": said.sum() * 0,
    }
    if len(said):
        losses["mask"] = F.binary_cross_entropy_with_logits(said, true)
        losses["dice"] = dice_loss(said, true)
    if there.any():
        losses["semantic_dice"] = dice_loss(predictions.semantic[there], semantic[there])
    return losses


def weighted(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses by `WEIGHTS`."""
    return torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
