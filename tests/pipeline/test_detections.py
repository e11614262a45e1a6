import numpy as np
import pytest

from sam_tvm.pipeline.detections import (
    NOTHING,
    OF_RANDOM_WEIGHTS,
    OF_REAL_WEIGHTS,
    OF_UNKNOWN_PICTURES,
    Detections,
    compare_detections,
    compare_with_peer,
    mask_ious,
    widest_gap_threshold,
)


def found(count=6, shift=0.0):
    masks = np.zeros((count, 40, 50), bool)
    masks[:, 5:25, 10:30] = True
    boxes = np.tile(np.float32([10, 5, 30, 25]), (count, 1)) + np.float32(shift)
    return Detections(masks, boxes, np.linspace(0.9, 0.5, count, dtype=np.float32))


def test_threshold_lies_in_the_widest_gap_with_enough_objects_above():
    scores = np.r_[0.99, 0.5, 0.49, 0.48, 0.47, 0.46, 0.3, 0.29, 0.1]
    threshold = widest_gap_threshold(scores, OF_RANDOM_WEIGHTS)
    assert 0.1 < threshold < 0.29
    assert (scores > threshold).sum() == 8


def test_real_weights_may_find_a_single_object():
    scores = np.r_[0.95, 0.2, 0.19, 0.18, 0.1]
    threshold = widest_gap_threshold(scores, OF_REAL_WEIGHTS)
    assert 0.2 < threshold < 0.95
    assert compare_detections(found(1), found(1), OF_REAL_WEIGHTS)["passed"]


def test_threshold_of_an_empty_case_is_above_all_scores():
    assert widest_gap_threshold(np.array([0.2, 0.7]), NOTHING) == pytest.approx(0.85)


def test_equal_detections_pass():
    row = compare_detections(found(), found(), OF_RANDOM_WEIGHTS)
    assert row["passed"]
    assert row["mask_iou_min"] == 1


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        (found(count=5), "found 5 objects"),
        (found(shift=0.6), "outside the limits"),
        (Detections(found().masks, found().boxes, found().scores + np.float32(2e-4)), "outside"),
    ],
)
def test_difference_beyond_a_limit_fails(ours, reason):
    row = compare_detections(ours, found(), OF_RANDOM_WEIGHTS)
    assert not row["passed"]
    assert reason in row["reason"]


def test_one_pixel_in_a_small_mask_is_below_the_iou_limit():
    ours = found()
    ours.masks[3, 5, 10] = False
    row = compare_detections(ours, found(), OF_RANDOM_WEIGHTS)
    assert row["mask_iou_min"] == pytest.approx(399 / 400)
    assert not row["passed"]


def test_case_with_trivial_masks_does_not_count():
    trivial = found()
    trivial.masks[2] = True
    assert "empty or full" in compare_detections(trivial, trivial, OF_RANDOM_WEIGHTS)["reason"]


def test_case_with_too_few_objects_does_not_count():
    assert "not 5 to 100" in compare_detections(found(4), found(4), OF_RANDOM_WEIGHTS)["reason"]


def test_empty_case_passes_only_without_objects():
    assert compare_detections(found(0), found(0), NOTHING)["passed"]
    assert not compare_detections(found(), found(), NOTHING)["passed"]


def test_two_empty_masks_agree():
    empty = np.zeros((1, 4, 4), bool)
    assert mask_ious(empty, empty).tolist() == [1.0]


def shifted(pixels, count=6):
    """The masks moved to the right."""
    plain = found(count)
    return Detections(np.roll(plain.masks, pixels, axis=2), plain.boxes, plain.scores)


def test_a_lower_precision_passes_where_pytorch_is_as_far_off():
    row = compare_with_peer(shifted(1), shifted(1), found(), OF_RANDOM_WEIGHTS)
    assert row["passed"]
    assert row["mask_iou_min"] == row["torch_mask_iou_min"] < 1


def test_a_lower_precision_fails_where_pytorch_is_closer():
    row = compare_with_peer(shifted(3), shifted(1), found(), OF_RANDOM_WEIGHTS)
    assert not row["passed"]
    assert "further from float32" in row["reason"]


def test_a_lower_precision_may_only_miss_an_object_where_pytorch_does():
    assert not compare_with_peer(found(5), found(6), found(6), OF_RANDOM_WEIGHTS)["passed"]
    assert compare_with_peer(found(5), found(7), found(6), OF_RANDOM_WEIGHTS)["passed"]


def test_nothing_found_overlaps_with_nothing():
    nothing = Detections(np.zeros((0, 40, 50), bool), np.zeros((0, 4)), np.zeros(0))
    assert compare_with_peer(nothing, found(), found(), OF_RANDOM_WEIGHTS)["mask_iou_min"] == 0
    assert compare_with_peer(nothing, nothing, nothing, NOTHING)["passed"]


def test_a_lower_precision_need_not_find_what_pytorch_is_not_sure_of():
    reference = found(2)
    reference.scores[1] = 0.1
    sure = Detections(reference.masks[:1], reference.boxes[:1], reference.scores[:1])
    assert compare_with_peer(sure, reference, reference, OF_REAL_WEIGHTS)["passed"]
    nothing = Detections(np.zeros((0, 40, 50), bool), np.zeros((0, 4)), np.zeros(0))
    assert not compare_with_peer(nothing, reference, reference, OF_REAL_WEIGHTS)["passed"]
    assert compare_with_peer(nothing, reference, reference, OF_UNKNOWN_PICTURES)["passed"]
