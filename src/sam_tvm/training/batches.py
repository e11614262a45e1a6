"""What a step of a stage is given, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sam_tvm.scenes.drawing import Scene
from sam_tvm.scenes.prompts import TrainingPrompt, any_prompt, phrase_prompt
from sam_tvm.training import forward
from sam_tvm.training.dense import DenseHeads, DenseOutputs, dense_outputs, phrase_features
from sam_tvm.training.forward import Predictions

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image


@dataclass(frozen=True)
class Batch:
    """Scenes, and as many prompts about each."""

    scenes: list[Scene]
    prompts: list[list[TrainingPrompt]]

    @property
    def flat(self) -> list[TrainingPrompt]:
        """All prompts, those of the first scene first."""
        return [prompt for own in self.prompts for prompt in own]

    @property
    def pixels(self) -> Tensor:
        """The pictures as the model takes them."""
        return pixels(self.scenes)


MakePrompt = Callable[[np.random.Generator, Scene], TrainingPrompt]
PROMPTS: dict[str, MakePrompt] = {"dense": phrase_prompt, "detection": any_prompt}


def make_batch(scenes: list[Scene], stage: str, count: int, rng: np.random.Generator) -> Batch:
    """Draw `count` prompts of a stage's kinds about each scene."""
    make = PROMPTS[stage]
    return Batch(scenes, [[make(rng, scene) for _ in range(count)] for scene in scenes])


def run_dense(model: Sam3Image, heads: DenseHeads, batch: Batch) -> DenseOutputs:
    """The dense objectives of a batch."""
    features = forward.coarsest_level(model, batch.pixels)
    texts = [prompt.text for prompt in batch.flat]
    phrases = phrase_features(*forward.encode_text(model, forward.tokenised(model, texts)))
    return dense_outputs(heads, features, phrases, batch.scenes, batch.prompts)


@dataclass(frozen=True)
class DetectionOutputs:
    """What the whole model answers, beside the dense objectives of the same batch.

    Attributes:
        predictions: of the batch's prompts, in the order of `Batch.flat`.
        masked: (M,) int64, the prompts that have masks.
        dense: the dense outputs.
    """

    predictions: Predictions
    masked: Tensor
    dense: DenseOutputs


def run_detection(
    model: Sam3Image, heads: DenseHeads, batch: Batch, all_masks: bool = False
) -> DetectionOutputs:
    """Answer the prompts of a batch.

    Without `all_masks`, one prompt of each scene gets masks, the first that asks for something:
    they cost more than the rest together.
    """
    picture = forward.encode_pictures(model, batch.pixels)
    prompts = batch.flat
    text = forward.encode_text(model, forward.tokenised(model, [p.text for p in prompts]))
    masked = torch.arange(len(prompts)) if all_masks else first_that_asks(batch)
    image_ids = torch.arange(len(batch.scenes)).repeat_interleave(len(batch.prompts[0]))
    predictions = forward.ground(
        model, picture, image_ids, text, box_tensors(prompts), not all_masks, masked
    )
    phrases = phrase_features(*text)
    dense = dense_outputs(heads, picture.levels[-1], phrases, batch.scenes, batch.prompts)
    return DetectionOutputs(predictions, masked, dense)


def first_that_asks(batch: Batch) -> Tensor:
    """Of each scene, the first prompt that asks for an object, or its first; (B,) int64."""
    each = len(batch.prompts[0])
    chosen = [
        index * each + next((i for i, p in enumerate(own) if p.wanted), 0)
        for index, own in enumerate(batch.prompts)
    ]
    return torch.tensor(chosen)


def pixels(scenes: list[Scene]) -> Tensor:
    """The scenes' pictures as the model takes them: (B, 3, S, S) float32 of -1 to 1."""
    images = torch.from_numpy(np.stack([scene.image for scene in scenes]))
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def box_tensors(prompts: list[TrainingPrompt]) -> tuple[Tensor, Tensor, Tensor]:
    """The prompts' boxes as `forward.ground` takes them: one slot each, masked where empty."""
    empty = np.full(4, 0.5, np.float32)
    boxes = np.stack([empty if p.box is None else p.box for p in prompts])
    absent = torch.tensor([[p.box is None] for p in prompts])
    labels = torch.tensor([[int(p.positive) for p in prompts]])
    return torch.from_numpy(boxes)[None], absent, labels
