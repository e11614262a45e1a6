import json

import numpy as np
import pytest

from sam_tvm.pipeline.metrics import as_row, compare

EXACT = np.linspace(-3, 3, 60).reshape(3, 20)


def outcome(actual, torch32, torch64=EXACT):
    return compare("case", "output", actual, torch32, torch64)


def single(array):
    return array.astype(np.float32)


def test_equal_output_passes_by_tolerance():
    comparison = outcome(single(EXACT), single(EXACT))
    assert comparison.passed_by == "tolerance"
    assert comparison.max_abs_error == 0


def test_worst_element_is_named():
    actual = single(EXACT).copy()
    actual[1, 7] += 0.5
    comparison = outcome(actual, single(EXACT))
    assert comparison.worst_index == [1, 7]
    assert comparison.max_abs_error == pytest.approx(0.5, abs=1e-6)
    assert not comparison.passed


def test_output_as_near_to_float64_as_pytorch_passes_by_referee():
    theirs, ours = single(EXACT + 1e-3), single(EXACT - 1.5e-3)
    comparison = outcome(ours, theirs)
    assert not comparison.within_tolerance
    assert comparison.passed_by == "float64"
    assert comparison.error_vs_float64 == pytest.approx(1.5e-3, rel=1e-3)


def test_output_more_than_twice_as_far_from_float64_fails():
    assert not outcome(single(EXACT - 2.5e-3), single(EXACT + 1e-3)).passed


def test_nan_never_passes_even_where_pytorch_has_nan():
    broken = single(EXACT).copy()
    broken[0, 0] = np.nan
    assert not outcome(broken, broken, broken.astype(np.float64)).passed


def test_infinities_pass_only_where_they_agree():
    reference = single(EXACT).copy()
    reference[2, 2] = -np.inf
    wide = reference.astype(np.float64)
    assert outcome(reference, reference, wide).passed
    assert not outcome(single(EXACT), reference, wide).passed
    flipped = reference.copy()
    flipped[2, 2] = np.inf
    assert not outcome(flipped, reference, wide).passed


def test_shape_and_type_must_agree():
    assert "expected" in outcome(single(EXACT)[:2], single(EXACT)).reason
    assert "expected" in outcome(EXACT, single(EXACT)).reason


def test_masks_must_be_equal():
    mask = EXACT > 0
    other = mask.copy()
    other[0, 0] = ~other[0, 0]
    assert outcome(mask, mask, mask).passed
    assert not outcome(other, mask, mask).passed


def test_row_is_strict_json():
    row = as_row(outcome(single(EXACT)[:2], single(EXACT)))
    assert json.loads(json.dumps(row, allow_nan=False))["max_abs_error"] is None


def test_a_lower_precision_is_judged_by_pytorch_in_that_precision():
    ours, theirs = single(EXACT) + np.float32(1e-2), single(EXACT) - np.float32(8e-3)
    alone = compare("case", "output", ours, single(EXACT), EXACT)
    judged = compare("case", "output", ours, single(EXACT), EXACT, peer=theirs)
    assert (alone.passed_by, judged.passed_by) == (None, "float64")
    assert judged.torch_error_vs_float64 == pytest.approx(8e-3, rel=1e-3)
    assert judged.max_abs_error == pytest.approx(1e-2, rel=1e-3)
