"""Scenes to train on: each is drawn once, and shown a few times turned and mirrored.

Which scenes a step is given depends on the seed and the step's number alone, so a training that
is resumed goes on as if it had not been interrupted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam_tvm.scenes.drawing import TRAINING, Scene, draw_scene, generator

WINDOW = 512  # how many of the latest scenes a step chooses from
FRESH = 4  # scenes that each step draws


class ScenePool:
    """The scenes of a seed, by number, of which the latest `WINDOW` are kept."""

    def __init__(self, seed: int, side: int, most: int) -> None:
        self.seed, self.side, self.most = seed, side, most
        self._kept: dict[int, Scene] = {}

    def batch(self, step: int, size: int, rng: np.random.Generator) -> list[Scene]:
        """The scenes of a step, each in one of the eight symmetries of the square."""
        last = WINDOW + FRESH * step
        for number in [number for number in self._kept if number < last - WINDOW]:
            del self._kept[number]
        numbers = rng.integers(last - WINDOW, last, size)
        return [turned(self._scene(int(number)), int(rng.integers(8))) for number in numbers]

    def _scene(self, number: int) -> Scene:
        if number not in self._kept:
            rng = generator(TRAINING, self.seed, number)
            self._kept[number] = draw_scene(rng, self.side, self.most)
        return self._kept[number]


def turned(scene: Scene, symmetry: int) -> Scene:
    """The scene turned by `symmetry % 4` right angles, and mirrored if `symmetry` is 4 or more.

    Image and owner map are turned; the objects' centres and angles stay as they were drawn.
    """
    image, owner = np.rot90(scene.image, symmetry % 4), np.rot90(scene.owner, symmetry % 4)
    if symmetry >= 4:
        image, owner = image[:, ::-1], owner[:, ::-1]
    return replace(scene, image=image, owner=owner)
