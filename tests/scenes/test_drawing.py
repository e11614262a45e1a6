"""Drawn scenes and what is said of them."""

import numpy as np
import pytest

from sam_tvm.scenes.drawing import (
    LEAST_VISIBLE,
    NOBODY,
    TEST,
    TRAINING,
    UNLIKE,
    Scene,
    Thing,
    draw_scene,
    generator,
    has_a_name,
)
from sam_tvm.scenes.vocabulary import COLOURS, HELD_OUT, PAIRS, SHAPES, TRAINED_PAIRS, UNNAMED
from sam_tvm.training.pool import ScenePool, turned

SIDE = 96


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(generator(TRAINING, 0, number), SIDE) for number in range(60)]


def alone(shape, radius=30.0):
    """Where a single red shape in the middle of a scene is seen."""
    from sam_tvm.scenes.drawing import _owner_map

    thing = Thing("red", shape, "large", SIDE / 2, SIDE / 2, radius, 0.0, (215, 35, 40))
    return _owner_map((thing,), SIDE) == 0


def test_scene_follows_from_purpose_seed_and_number(scenes):
    again = draw_scene(generator(TRAINING, 0, 5), SIDE)
    assert np.array_equal(again.image, scenes[5].image)
    assert np.array_equal(again.owner, scenes[5].owner)
    other = draw_scene(generator(TEST, 0, 5), SIDE)
    assert not np.array_equal(other.image, scenes[5].image)


def test_objects_are_of_their_colours_within_their_masks(scenes):
    for scene in scenes:
        for index, thing in enumerate(scene.things):
            drawn = np.median(scene.image[scene.mask(index)], axis=0)
            assert np.abs(drawn - thing.ink).max() < 20
            if thing.colour != UNNAMED:
                assert np.abs(drawn - COLOURS[thing.colour]).max() < 55


def test_unnamed_colours_are_unlike_those_with_names(scenes):
    inks = [t.ink for scene in scenes for t in scene.things if t.colour == UNNAMED]
    assert len(inks) > 20
    named = np.array(list(COLOURS.values()))
    assert all(np.linalg.norm(named - ink, axis=1).min() > UNLIKE - 2 for ink in inks)


def test_every_shade_of_a_named_colour_has_a_name():
    for colour in COLOURS.values():
        for change in (-15, 0, 10):
            assert has_a_name(np.array(colour) + change)
    navy, pink, mint, brown = (0, 0, 120), (255, 120, 200), (150, 240, 190), (70, 40, 20)
    assert has_a_name(np.array(navy))
    assert not any(has_a_name(np.array(other)) for other in (pink, mint, brown))


def test_box_is_the_tightest_around_what_is_seen(scenes):
    for scene in scenes:
        for index in range(len(scene.things)):
            cx, cy, w, h = scene.box(index) * SIDE
            x0, y0, x1, y1 = (
                round(float(v)) for v in (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
            )
            mask = scene.mask(index)
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            assert mask[y0].any() and mask[y1 - 1].any()
            assert mask[:, x0].any() and mask[:, x1 - 1].any()


def test_shapes_cover_what_geometry_says():
    square = alone("square").sum() / 30**2
    areas = {shape: alone(shape).sum() / (np.pi * 30**2) for shape in SHAPES}
    assert areas["circle"] == pytest.approx(1, abs=0.03)
    assert areas["ring"] == pytest.approx(1 - 0.55**2, abs=0.04)
    assert square == pytest.approx(2 * 1.12**2, abs=0.08)
    assert len({round(area, 2) for area in areas.values()}) == len(SHAPES)


def test_no_object_is_hidden_beyond_recognition(scenes):
    from sam_tvm.scenes.drawing import _owner_map

    overlapping = 0
    for scene in scenes:
        for index, thing in enumerate(scene.things):
            whole = (_owner_map((thing,), SIDE) == 0).sum()
            seen = scene.mask(index).sum()
            overlapping += seen < whole
            assert seen > (LEAST_VISIBLE - 0.1) * whole
    assert overlapping > 5  # there are overlaps


def test_training_scenes_show_every_trained_pair_and_no_other():
    shown = {
        thing.pair
        for number in range(250)
        for thing in draw_scene(generator(TRAINING, 1, number), 48, most=8).things
    }
    assert shown == {*TRAINED_PAIRS, *((UNNAMED, shape) for shape in SHAPES)}
    assert {colour for colour, _ in HELD_OUT} == set(COLOURS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)


def test_wanted_pair_is_in_the_scene():
    for number, pair in enumerate(sorted(HELD_OUT)):
        scene = draw_scene(generator(TEST, 0, number), SIDE, 6, PAIRS, pair)
        assert pair in {thing.pair for thing in scene.things}


def test_turning_moves_picture_and_masks_together(scenes):
    scene = scenes[0]
    pictures = set()
    for symmetry in range(8):
        other = turned(scene, symmetry)
        pictures.add(other.image.tobytes())
        assert np.array_equal(
            np.sort(other.image[other.mask(0)], axis=0), np.sort(scene.image[scene.mask(0)], axis=0)
        )
    assert len(pictures) == 8


def test_pool_gives_a_step_the_same_scenes_whenever_it_is_asked():
    first, later = ScenePool(1, 48, 4), ScenePool(1, 48, 4)
    for step in range(3):
        former = first.batch(step, 4, np.random.default_rng(step))
    again = later.batch(2, 4, np.random.default_rng(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(former, again, strict=True))


def test_background_belongs_to_nobody():
    scene = Scene(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), NOBODY, np.int8), ())
    assert not scene.mask(0).any()
