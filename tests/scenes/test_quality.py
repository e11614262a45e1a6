"""Figures of answers that are known."""

import numpy as np
import pytest

from sam_tvm.scenes.quality import Answer, best_threshold, mask_overlaps, quality


def answer(scores, overlaps, objects):
    return Answer(np.array(scores, float), np.array(overlaps, float).reshape(len(scores), objects))


def test_overlaps_of_masks():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2], masks[1, :, :2] = True, True
    assert np.allclose(mask_overlaps(masks, masks[:2]), [[1, 4 / 12], [4 / 12, 1], [0, 0]])
    assert mask_overlaps(masks[:0], masks).shape == (0, 3)


def test_perfect_answers():
    figures = quality([answer([0.9, 0.8], [[0, 1], [1, 0]], 2), answer([], [], 0)], 0.5)
    assert (figures.f1, figures.mean_iou, figures.absent_accuracy) == (1, 1, 1)


def test_missed_objects_count_as_zero_and_poor_masks_as_missed():
    figures = quality([answer([0.9, 0.9], [[0.8, 0], [0, 0.4]], 2)], 0.5)
    assert figures.mean_iou == pytest.approx(0.4)
    assert figures.f1 == pytest.approx(0.5)  # one of two right, one of two found
    assert np.isnan(figures.absent_accuracy)


def test_two_detections_of_one_object_count_once():
    figures = quality([answer([0.9, 0.9], [[0.8], [0.9]], 1)], 0.5)
    assert figures.mean_iou == pytest.approx(0.9)
    assert figures.f1 == pytest.approx(2 / 3)


def test_detections_below_the_threshold_do_not_count():
    answers = [answer([0.9, 0.3], [[0.9], [0.1]], 1), answer([0.3], [], 0), answer([0.6], [], 0)]
    figures = quality(answers, 0.5)
    assert figures.f1 == 1
    assert figures.absent_accuracy == 0.5


def test_best_threshold_parts_right_from_wrong():
    answers = [answer([0.7, 0.4], [[0.9], [0.0]], 1), answer([0.45], [], 0)]
    assert 0.45 <= best_threshold(answers) < 0.7
