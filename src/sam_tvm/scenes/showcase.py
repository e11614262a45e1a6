"""The scene that the README, the end-to-end cases and the first try on the command line show.

Every object differs from another in one attribute alone, so that each part of a phrase counts.
"""

from __future__ import annotations

import numpy as np

from sam_tvm.scenes.drawing import Scene, Thing, generator, paint, shade
from sam_tvm.scenes.vocabulary import SIZES

SIDE = 512
PURPOSE = 4  # of a generator's key: no scene of another purpose has it
DULL = np.array([150.0, 158.0, 150.0], np.float32)  # the background
# Colour, shape, size, centre as fractions of the picture, angle in radians.
_THINGS = (
    ("red", "circle", "large", 0.22, 0.24, 0.0),
    ("red", "circle", "small", 0.80, 0.80, 0.0),
    ("blue", "circle", "large", 0.55, 0.60, 0.0),
    ("red", "square", "large", 0.78, 0.24, 0.2),
    ("yellow", "star", "large", 0.22, 0.75, 0.1),
    ("yellow", "star", "small", 0.52, 0.20, -0.3),
    ("green", "cross", "small", 0.86, 0.54, 0.1),
)


def showcase(side: int = SIDE) -> Scene:
    """The scene as a picture of `side` pixels."""
    rng = generator(PURPOSE, 0, 2)
    things = tuple(
        Thing(
            colour, shape, size, x * side, y * side, float(np.mean(SIZES[size])) * side, angle,
            shade(rng, colour),
        )
        for colour, shape, size, x, y, angle in _THINGS
    )  # fmt: skip
    return paint(rng, things, side, DULL)
