"""Prompts to train on: a phrase, a box, or both, and which objects they ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sam_tvm.scenes.drawing import Scene
from sam_tvm.scenes.phrases import absent_phrase, present_phrase
from sam_tvm.scenes.vocabulary import UNNAMED, VISUAL

ABSENT_SHARE = 0.3  # of the phrases
BOX_SHARE = 0.2  # of the prompts: a box alone, which asks for all of its object's colour and shape
REFINED_SHARE = 0.2  # of the prompts: a phrase and a box
NEGATIVE_SHARE = 0.75  # of those boxes, where that leaves something to find
ATTEMPTS = 6  # to find a phrase that names several kinds of object


@dataclass(frozen=True)
class TrainingPrompt:
    """A prompt and the objects that it asks for.

    Attributes:
        text: the phrase.
        wanted: indices of the objects.
        named: those that the phrase alone names.
        box: cx, cy, w, h as fractions of the picture; None: no box.
        positive: whether the box shows what is asked for, or what is not.
    """

    text: str
    wanted: tuple[int, ...]
    named: tuple[int, ...]
    box: np.ndarray | None = None
    positive: bool = True


def phrase_prompt(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    """A phrase that names something or, now and then, nothing."""
    make = absent_phrase if rng.random() < ABSENT_SHARE else present_phrase
    phrase = make(rng, scene)
    return TrainingPrompt(phrase.text, phrase.named, phrase.named)


def box_prompt(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    """A box around one object, which asks for all that have its colour and shape.

    Colours without a name are no kinds of their own: where there are no others, a phrase.
    """
    coloured = _coloured(scene, range(len(scene.things)))
    if not coloured:
        return phrase_prompt(rng, scene)
    index = coloured[rng.integers(len(coloured))]
    return TrainingPrompt(VISUAL, alike(scene, index), (), scene.box(index))


def refined_prompt(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    """A phrase with a box around one of what it names.

    A negative box takes its object, and those of the same colour and shape, away. A phrase alone
    where there is no object of a colour with a name.
    """
    prompt = phrase_prompt(rng, scene)
    for _ in range(ATTEMPTS):
        phrase = present_phrase(rng, scene)
        coloured = _coloured(scene, phrase.named)
        if not coloured:
            continue
        index = coloured[rng.integers(len(coloured))]
        box, left = scene.box(index), set(phrase.named) - set(alike(scene, index))
        prompt = TrainingPrompt(phrase.text, phrase.named, phrase.named, box)
        if left:
            if rng.random() < NEGATIVE_SHARE:
                wanted = tuple(sorted(left))
                prompt = TrainingPrompt(phrase.text, wanted, phrase.named, box, positive=False)
            break
    return prompt


def any_prompt(rng: np.random.Generator, scene: Scene) -> TrainingPrompt:
    """One of the three."""
    draw = rng.random()
    if draw < BOX_SHARE:
        return box_prompt(rng, scene)
    if draw < BOX_SHARE + REFINED_SHARE:
        return refined_prompt(rng, scene)
    return phrase_prompt(rng, scene)


def alike(scene: Scene, index: int) -> tuple[int, ...]:
    """Indices of the objects with the colour and shape of object `index`, itself included."""
    pair = scene.things[index].pair
    return tuple(i for i, thing in enumerate(scene.things) if thing.pair == pair)


def _coloured(scene: Scene, indices: Iterable[int]) -> list[int]:
    """Those of the objects whose colour has a name."""
    return [index for index in indices if scene.things[index].colour != UNNAMED]
