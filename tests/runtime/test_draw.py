"""Overlays show masks, boxes, scores and prompts."""

import numpy as np
import pytest

from sam_tvm.runtime.draw import Finding, draw_overlay


def finding(height: int, width: int, text: str | None = "a cat", count: int = 2) -> Finding:
    masks = np.zeros((count, 1, height, width), bool)
    for number in range(count):
        masks[number, 0, : height // (number + 2), : width // 2] = True
    boxes = np.tile(np.array([0, 0, width / 2 - 1, height / 2 - 1], np.float32), (count, 1))
    return Finding(text, [], [], masks, boxes, np.linspace(0.9, 0.6, count, dtype=np.float32))


def test_the_picture_is_tinted_where_masks_are_and_nowhere_else():
    grey = np.full((200, 300, 3), 128, np.uint8)
    result = finding(200, 300, count=1)
    overlay = np.asarray(draw_overlay(grey, [result]))
    inside = result.masks[0, 0]
    changed = (overlay != grey).any(axis=2)
    assert changed[inside].all()
    assert not changed[~inside].any()
    assert (grey == 128).all()


def test_masks_have_an_outline_except_at_the_edge_of_the_picture():
    black = np.zeros((256, 256, 3), np.uint8)
    result = finding(256, 256, count=1)
    result.masks[...] = False
    result.masks[0, 0, 100:200, :80] = True
    result.found[...] = 250  # box and score elsewhere
    overlay = np.asarray(draw_overlay(black, [result])).max(axis=2)
    inner = overlay[150, 40]
    for row, column in ((100, 40), (199, 40), (150, 79)):
        assert overlay[row, column] > inner
    assert overlay[150, 0] == inner


def test_without_detections_the_picture_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        np.asarray(draw_overlay(picture, [finding(40, 30, count=0)])), picture
    )


def test_prompts_are_drawn_where_they_are():
    black = np.zeros((200, 300, 3), np.uint8)
    empty = finding(200, 300, None, count=0)
    given = Finding(
        None,
        [((50.0, 60.0, 120.0, 150.0), True)],
        [((250.0, 100.0), False)],
        empty.masks,
        empty.found,
        empty.scores,
    )
    drawn = np.asarray(draw_overlay(black, [given])).any(axis=2)
    rows, columns = np.nonzero(drawn[:, :200])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 150, 50, 120)
    assert drawn[100, 250]
    assert not drawn[100, 85]


@pytest.mark.parametrize("text", ["日本語", "far too long for a caption", None, "a\nb"])
def test_any_text_can_be_a_caption(text):
    white = np.full((90, 90, 3), 255, np.uint8)
    assert draw_overlay(white, [finding(90, 90, text), finding(90, 90, "b")]).size == (90, 90)


@pytest.mark.parametrize("size", [(1, 1), (10, 20000), (20000, 10), (3, 5)])
def test_extreme_sizes_and_boxes_outside_the_picture_work(size):
    result = finding(*size)
    result.found[0] = [-500, -20, 30000, 30000]
    result.found[1] = [5, 5, 2, 2]  # what a model may return: no area, corners swapped
    overlay = draw_overlay(np.zeros((*size, 3), np.uint8), [result])
    assert overlay.size == size[::-1]


def test_many_objects_have_colours():
    white = np.full((60, 60, 3), 255, np.uint8)
    assert draw_overlay(white, [finding(60, 60, count=25)]).size == (60, 60)
