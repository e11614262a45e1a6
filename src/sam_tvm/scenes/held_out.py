"""Scenes that no training sees, each with prompts of known answers: what quality is measured on.

Nothing here needs torch. The scenes are drawn larger than the model's pictures are, as a user's
would be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam_tvm.scenes.drawing import TEST, VALIDATION, Scene, draw_scene, generator
from sam_tvm.scenes.phrases import absent_phrase, present_phrase
from sam_tvm.scenes.prompts import TrainingPrompt, alike, box_prompt
from sam_tvm.scenes.vocabulary import HELD_OUT, PAIRS, UNNAMED

COUNT = 500
VALIDATION_COUNT = 100
SEED = 2026
SIDE = 256
MOST_OBJECTS = 6
UNSEEN_EVERY = 5  # of so many scenes, two are about a pair that training never shows
UNSEEN = 2


@dataclass(frozen=True)
class Question:
    """A prompt of a kind and what it asks for.

    Attributes:
        kind: "phrase", "unseen" (a phrase about a held-out pair), "absent", "box" or "negative".
        prompt: the prompt.
    """

    kind: str
    prompt: TrainingPrompt


@dataclass(frozen=True)
class Case:
    """A scene and questions about it."""

    scene: Scene
    questions: tuple[Question, ...]


# Of which F1, mask IoU and absent accuracy are: the others are reported beside them.
TEXT_KINDS = ("phrase", "unseen", "absent")


def make_case(number: int, purpose: int = TEST, seed: int = SEED) -> Case:
    """The scene `number`, of the held-out set or, with `VALIDATION`, of the set for thresholds."""
    rng = generator(purpose, seed, number)
    unseen = number % UNSEEN_EVERY < UNSEEN
    first = sorted(HELD_OUT)[number % len(HELD_OUT)] if unseen else None
    scene = draw_scene(rng, SIDE, MOST_OBJECTS, PAIRS, first)
    questions = [
        Question("phrase", _phrase(rng, scene)),
        Question("absent", _absent(rng, scene)),
    ]
    box = box_prompt(rng, scene)
    if box.box is not None:
        questions.append(Question("box", box))
    if first is not None:
        index = next(i for i, thing in enumerate(scene.things) if thing.pair == first)
        questions.append(Question("unseen", _about(scene, index)))
    negative = _negative(rng, scene)
    if negative is not None:
        questions.append(Question("negative", negative))
    return Case(scene, tuple(questions))


def held_out_cases(count: int = COUNT) -> list[Case]:
    """The held-out scenes."""
    return [make_case(number) for number in range(count)]


def validation_cases(count: int = VALIDATION_COUNT) -> list[Case]:
    """Other scenes like them, to choose a threshold on."""
    return [make_case(number, VALIDATION) for number in range(count)]


def _phrase(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    phrase = present_phrase(rng, scene, frozenset())
    return TrainingPrompt(phrase.text, phrase.named, phrase.named)


def _absent(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    return TrainingPrompt(absent_phrase(rng, scene, frozenset()).text, (), ())


def _about(scene: Scene, index: int) -> TrainingPrompt:
    named = alike(scene, index)
    return TrainingPrompt(" ".join(scene.things[index].pair), named, named)


def _negative(rng: np.random.Generator, scene: Scene) -> TrainingPrompt | None:
    """A shape's name with a negative box around one of two colours of it, where there are two."""
    for index in rng.permutation(len(scene.things)).tolist():
        thing = scene.things[index]
        named = tuple(i for i, other in enumerate(scene.things) if other.shape == thing.shape)
        left = tuple(i for i in named if i not in alike(scene, index))
        if left and thing.colour != UNNAMED:
            return TrainingPrompt(thing.shape, left, named, scene.box(index), positive=False)
    return None
