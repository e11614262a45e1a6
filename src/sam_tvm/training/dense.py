"""Dense objectives: what every image token shows, and which tokens a phrase names.

They teach the vision backbone what shapes and colours are, and bring its features and the text
encoder's together, long before the detector's own losses could. The heads here serve training
alone; they are no part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_tvm.scenes.drawing import Scene
from sam_tvm.scenes.phrases import VALUES
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.scenes.vocabulary import HELD_OUT, UNNAMED

# Classes of a token by attribute: nothing, or one of the attribute's values.
CLASSES = {attribute: 1 + len(values) for attribute, values in VALUES.items()}
ALIGNMENT_WEIGHT = 3.0
NO_LABEL = -100  # of a colour without a name: cross-entropy leaves it out
FOREGROUND_WEIGHT = 4.0  # of tokens that show an object, against those that show none


class DenseHeads(nn.Module):
    """Linear maps from image features to attributes, and between image features and text."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attributes = nn.Linear(d_model, sum(CLASSES.values()))
        self.image = nn.Linear(d_model, d_model)
        self.text = nn.Linear(d_model, d_model)
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def attribute_logits(self, features: Tensor) -> tuple[Tensor, ...]:
        """Logits of each attribute's classes, of features (B, d_model, h, w): (B, h, w, n)."""
        return self.attributes(features.movedim(1, -1)).split(tuple(CLASSES.values()), dim=-1)

    def alignment(self, features: Tensor, phrases: Tensor) -> Tensor:
        """Logits (B, P, h, w) that a token shows what a phrase (B, P, d_model) names."""
        image, text = self.image(features.movedim(1, -1)), self.text(phrases)
        return torch.einsum("bhwc,bpc->bphw", image, text) + self.bias


def token_attributes(scenes: list[Scene], grid: int) -> Tensor:
    """(B, 3, grid, grid) int64: what each token's centre shows; or `NO_LABEL`."""
    labels = []
    for scene in scenes:
        rows = [[0] * len(VALUES)]
        rows += [
            [_label(getattr(thing, attribute), values) for attribute, values in VALUES.items()]
            for thing in scene.things
        ]
        labels.append(np.array(rows)[owner_at_tokens(scene, grid) + 1].transpose(2, 0, 1))
    return torch.from_numpy(np.stack(labels))


def _label(value: str, values: tuple[str, ...]) -> int:
    return NO_LABEL if value == UNNAMED else 1 + values.index(value)


def owner_at_tokens(scene: Scene, grid: int) -> np.ndarray:
    """(grid, grid) int64: the owner map at the centres of a grid's cells."""
    side = scene.owner.shape[0]
    centres = ((np.arange(grid) + 0.5) * side / grid).astype(int)
    return scene.owner[np.ix_(centres, centres)].astype(np.int64)


def _untaught_shapes() -> Tensor:
    """(colours, shapes) bool, by class: pairs that training never shows."""
    untaught = torch.zeros(CLASSES["colour"], CLASSES["shape"], dtype=torch.bool)
    for colour, shape in HELD_OUT:
        row = 1 + VALUES["colour"].index(colour)
        untaught[row, 1 + VALUES["shape"].index(shape)] = True
    return untaught


_UNTAUGHT = _untaught_shapes()


def attribute_loss(logits: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Sum over the attributes of the weighted mean cross-entropy of the tokens.

    The shape that a token's colour is never shown with is no class of its: else the loss would
    teach to rule it out by the colour.
    """
    named = dict(zip(CLASSES, logits, strict=True))
    colours = labels[:, tuple(CLASSES).index("colour")].clamp(min=0)
    named["shape"] = named["shape"].masked_fill(_UNTAUGHT[colours], -torch.inf)
    total = labels.new_zeros((), dtype=torch.float32)
    for values, wanted in zip(named.values(), labels.unbind(1), strict=True):
        weight = torch.where(wanted > 0, FOREGROUND_WEIGHT, (wanted == 0).float())
        entropy = F.cross_entropy(values.movedim(-1, 1), wanted, reduction="none")
        total = total + (entropy * weight).sum() / weight.sum()
    return total


def alignment_loss(logits: Tensor, named: Tensor) -> Tensor:
    """Weighted mean binary cross-entropy; `named` is (B, P, h, w) of 0 and 1."""
    entropy = F.binary_cross_entropy_with_logits(logits, named, reduction="none")
    weight = 1 + (FOREGROUND_WEIGHT - 1) * named
    return (entropy * weight).sum() / weight.sum()


@torch.no_grad()
def agreement(
    attributes: tuple[Tensor, ...], labels: Tensor, alignment: Tensor, named: Tensor
) -> dict[str, float]:
    """How right the heads are, as fractions.

    By attribute: of the tokens that show an object, those with the right value. "alignment": mean
    over the phrases that name something of the intersection over union of the tokens that show
    it and those that are said to.
    """
    right = {}
    for attribute, logits, wanted in zip(CLASSES, attributes, labels.unbind(1), strict=True):
        shown = wanted > 0
        right[attribute] = float((logits.argmax(-1) == wanted)[shown].float().mean())
    said, true = alignment > 0, named > 0.5
    union = (said | true).sum((2, 3)).clamp(min=1)
    overlap = ((said & true).sum((2, 3)) / union)[true.any(3).any(2)]
    return right | {"alignment": float(overlap.mean())}


def named_tokens(scenes: list[Scene], prompts: list[list[TrainingPrompt]], grid: int) -> Tensor:
    """(B, P, grid, grid) of 0 and 1: the tokens whose centre shows what a phrase names."""
    owners = [owner_at_tokens(scene, grid) for scene in scenes]
    named = [
        [np.isin(owner, prompt.named) for prompt in own]
        for owner, own in zip(owners, prompts, strict=True)
    ]
    return torch.from_numpy(np.array(named, dtype=np.float32))


def phrase_features(features: Tensor, mask: Tensor) -> Tensor:
    """Means over the tokens of text features (T, N, d) whose mask (N, T) is False: (N, d)."""
    there = (~mask).T[..., None].to(features.dtype)
    return (features * there).sum(0) / there.sum(0)


@dataclass(frozen=True)
class DenseOutputs:
    """What the heads say of a batch, and what is right; shapes as in the functions above."""

    attributes: tuple[Tensor, ...]
    labels: Tensor
    alignment: Tensor
    named: Tensor

    def loss(self) -> Tensor:
        """The sum of both objectives, weighted."""
        aligned = alignment_loss(self.alignment, self.named)
        return attribute_loss(self.attributes, self.labels) + ALIGNMENT_WEIGHT * aligned

    def figures(self) -> dict[str, float]:
        """`agreement` of the two."""
        return agreement(self.attributes, self.labels, self.alignment, self.named)


def dense_outputs(
    heads: DenseHeads,
    features: Tensor,
    phrases: Tensor,
    scenes: list[Scene],
    prompts: list[list[TrainingPrompt]],
) -> DenseOutputs:
    """Run the heads on image features (B, d, g, g) and phrase features (B P, d)."""
    batch, grid = features.shape[0], features.shape[-1]
    return DenseOutputs(
        heads.attribute_logits(features),
        token_attributes(scenes, grid),
        heads.alignment(features, phrases.unflatten(0, (batch, -1))),
        named_tokens(scenes, prompts, grid),
    )
