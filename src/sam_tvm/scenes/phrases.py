"""Phrases about a scene: which objects they name, and how they are worded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam_tvm.scenes.drawing import Scene, Thing
from sam_tvm.scenes.vocabulary import (
    ARTICLES,
    COLOURS,
    GENERIC,
    HELD_OUT,
    SHAPES,
    SIZES,
    UNKNOWN,
    UNNAMED,
    plural,
)

# Which attributes a phrase names, and how often.
FORMS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("colour", "shape"), 0.50),
    (("shape",), 0.20),
    (("colour",), 0.12),
    (("size", "colour", "shape"), 0.08),
    (("size", "shape"), 0.08),
    ((), 0.02),  # every object
)
VALUES = {"colour": tuple(COLOURS), "shape": SHAPES, "size": tuple(SIZES)}
UNKNOWN_SHARE = 0.2  # of the phrases that name nothing: the noun is one that is never drawn
ATTEMPTS = 20


@dataclass(frozen=True)
class Phrase:
    """A phrase and what it names.

    Attributes:
        text: e.g. "large blue star".
        wanted: the attributes that it asks for, as (attribute, value).
        named: indices of the scene's objects that have them all; empty: it names none.
        known: False where the noun is one of `UNKNOWN`.
    """

    text: str
    wanted: tuple[tuple[str, str], ...]
    named: tuple[int, ...]
    known: bool = True


def present_phrase(
    rng: np.random.Generator, scene: Scene, forbidden: frozenset[tuple[str, str]] = HELD_OUT
) -> Phrase:
    """A phrase that names one or several objects: a random one, and those like it.

    For `forbidden` see `teaches_absence`.
    """
    for _ in range(ATTEMPTS):
        wanted = _attributes(rng, scene.things[rng.integers(len(scene.things))])
        if not teaches_absence(scene, wanted, forbidden):
            break
    else:
        wanted = tuple(pair for pair in wanted if pair[0] != "shape")
    return Phrase(_worded(rng, wanted), wanted, _matches(scene, wanted))


def _attributes(rng: np.random.Generator, thing: Thing) -> tuple[tuple[str, str], ...]:
    return tuple(
        (attribute, getattr(thing, attribute))
        for attribute in _form(rng)
        if getattr(thing, attribute) != UNNAMED
    )


def teaches_absence(
    scene: Scene,
    wanted: tuple[tuple[str, str], ...],
    forbidden: frozenset[tuple[str, str]] = HELD_OUT,
) -> bool:
    """Whether a phrase would teach that pairs in `forbidden` are never there.

    They are never drawn, so an object of a pair's colour is never right where the pair's shape is
    asked for: from such questions a model learns to tell by the colour that it is another shape.
    """
    asked = dict(wanted)
    colours = {thing.colour for thing in scene.things} | {asked.get("colour")}
    return any((colour, asked.get("shape")) in forbidden for colour in colours)


def absent_phrase(
    rng: np.random.Generator, scene: Scene, forbidden: frozenset[tuple[str, str]] = HELD_OUT
) -> Phrase:
    """A phrase that names no object; most are one attribute away from one that does.

    For `forbidden` see `teaches_absence`.
    """
    if rng.random() < UNKNOWN_SHARE:
        return _unknown(rng)
    for _ in range(ATTEMPTS):
        thing = scene.things[rng.integers(len(scene.things))]
        form = _form(rng)
        if not form:
            continue
        wanted = {attribute: getattr(thing, attribute) for attribute in form}
        if wanted.get("colour") == UNNAMED:
            wanted["colour"] = VALUES["colour"][rng.integers(len(COLOURS))]
        for attribute in rng.permutation(form)[: 1 + int(rng.random() < 0.3)]:
            values = VALUES[attribute]
            wanted[str(attribute)] = values[rng.integers(len(values))]
        items = tuple(wanted.items())
        if not teaches_absence(scene, items, forbidden) and not _matches(scene, items):
            return Phrase(_worded(rng, items), items, ())
    return _unknown(rng)


def _form(rng: np.random.Generator) -> tuple[str, ...]:
    forms, weights = zip(*FORMS, strict=True)
    return forms[int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights)))]


def _unknown(rng: np.random.Generator) -> Phrase:
    noun = UNKNOWN[rng.integers(len(UNKNOWN))]
    colour = tuple(COLOURS)[rng.integers(len(COLOURS))]
    wanted = (("colour", colour),) if rng.random() < 0.4 else ()
    text = " ".join([*(value for _, value in wanted), noun])
    return Phrase(text, wanted, (), known=False)


def _matches(scene: Scene, wanted: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
    return tuple(
        index
        for index, thing in enumerate(scene.things)
        if all(getattr(thing, attribute) == value for attribute, value in wanted)
    )


def _worded(rng: np.random.Generator, wanted: tuple[tuple[str, str], ...]) -> str:
    """The phrase, now and then with an article or in the plural."""
    values = dict(wanted)
    noun = values.get("shape") or GENERIC[rng.integers(len(GENERIC))]
    adjectives = [values[attribute] for attribute in ("size", "colour") if attribute in values]
    style = rng.random()
    if style < 0.12:
        noun = plural(noun)
    article = [ARTICLES[rng.integers(len(ARTICLES))]] if style > 0.92 else []
    return " ".join([*article, *adjectives, noun])
