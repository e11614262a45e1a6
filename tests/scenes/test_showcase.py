"""The scene that the README shows."""

import numpy as np

from sam_tvm.components.sam3.end_to_end import SMALL_RED_CIRCLE, SMALL_YELLOW_STAR
from sam_tvm.scenes.drawing import LEAST_VISIBLE, paint
from sam_tvm.scenes.showcase import DULL, SIDE, showcase


def test_enough_of_every_object_is_seen():
    scene = showcase()
    for index, thing in enumerate(scene.things):
        alone = paint(np.random.default_rng(0), (thing,), SIDE, DULL)
        assert scene.mask(index).sum() >= LEAST_VISIBLE * alone.mask(0).sum()


def test_it_is_the_same_every_time_and_at_every_size():
    first, second, small = showcase(), showcase(), showcase(128)
    assert np.array_equal(first.image, second.image)
    assert [thing.pair for thing in small.things] == [thing.pair for thing in first.things]
    assert np.allclose(small.box(0), first.box(0), atol=0.02)


def test_the_end_to_end_cases_boxes_are_around_its_objects():
    scene = showcase()
    assert np.allclose(scene.box(1), SMALL_RED_CIRCLE, atol=0.01)
    assert np.allclose(scene.box(5), SMALL_YELLOW_STAR, atol=0.01)
