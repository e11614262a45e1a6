"""Figures on scenes that training never shows: what a stage has to reach, and how far it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from sam_tvm.scenes.drawing import VALIDATION, draw_scene, generator
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.scenes.quality import Answer, best_threshold, mask_overlaps, quality
from sam_tvm.scenes.vocabulary import HELD_OUT, PAIRS
from sam_tvm.training.batches import Batch, make_batch, run_dense, run_detection
from sam_tvm.training.dense import DenseHeads
from sam_tvm.training.forward import scores
from sam_tvm.training.recipe import Recipe, Stage

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image

BATCHES = 4
SIZE = 16  # scenes of a batch
LEAST_SCORE = 0.05  # of a detection that any threshold would keep


def validate(model: Sam3Image, heads: DenseHeads, recipe: Recipe, stage: Stage) -> dict[str, float]:
    """Figures of the validation scenes, which are the same every time.

    Those that begin with "unseen" are of phrases about pairs that training never shows.
    """
    usual = [_batch(recipe, stage, number) for number in range(BATCHES)]
    unseen = [_unseen_batch(recipe, stage, number) for number in range(max(1, BATCHES // 2))]
    others = _figures(model, heads, stage, unseen)
    return _figures(model, heads, stage, usual) | {f"unseen_{n}": v for n, v in others.items()}


def _figures(
    model: Sam3Image, heads: DenseHeads, stage: Stage, batches: list[Batch]
) -> dict[str, float]:
    figures, answers = [], []
    for batch in batches:
        if stage.name == "dense":
            figures.append(run_dense(model, heads, batch).figures())
        else:
            outputs = run_detection(model, heads, batch, all_masks=True)
            figures.append(outputs.dense.figures())
            answers += _answers(batch, scores(outputs.predictions), outputs.predictions.masks)
    means = {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}
    if answers:
        threshold = best_threshold(answers)
        means |= asdict(quality(answers, threshold)) | {"threshold": threshold}
    return means


def _batch(recipe: Recipe, stage: Stage, number: int) -> Batch:
    side = recipe.config.image_size
    scenes = [
        draw_scene(generator(VALIDATION, 0, number * SIZE + i), side, stage.most_objects)
        for i in range(SIZE)
    ]
    return make_batch(scenes, stage.name, stage.prompts, generator(VALIDATION, 1, number))


def _unseen_batch(recipe: Recipe, stage: Stage, number: int) -> Batch:
    """Scenes with a held-out pair, and the phrase that names it."""
    scenes, prompts = [], []
    for index in range(number * SIZE, (number + 1) * SIZE):
        pair = sorted(HELD_OUT)[index % len(HELD_OUT)]
        rng = generator(VALIDATION, 2, index)
        scene = draw_scene(rng, recipe.config.image_size, stage.most_objects, PAIRS, pair)
        named = tuple(i for i, thing in enumerate(scene.things) if thing.pair == pair)
        scenes.append(scene)
        prompts.append([TrainingPrompt(" ".join(pair), named, named)])
    return Batch(scenes, prompts)


def _answers(batch: Batch, all_scores: torch.Tensor, masks: torch.Tensor) -> list[Answer]:
    """What the prompts of a batch are answered with, masks at the pictures' size."""
    side = batch.scenes[0].owner.shape[0]
    answers = []
    for index, prompt in enumerate(batch.flat):
        scene = batch.scenes[index // len(batch.prompts[0])]
        kept = all_scores[index] > LEAST_SCORE
        # One picture a mask, as only the number of pictures may be 0.
        found = F.interpolate(masks[index, kept][:, None], (side, side), mode="bilinear")[:, 0] > 0
        truth = np.array([scene.mask(i) for i in prompt.wanted]).reshape(-1, side, side)
        answers.append(Answer(all_scores[index, kept].numpy(), mask_overlaps(found.numpy(), truth)))
    return answers
