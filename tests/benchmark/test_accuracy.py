"""No engine is timed on wrong work."""

import numpy as np
import pytest

from sam_tvm.benchmark.accuracy import WrongOutputsError, check, compare

EXPECTED = {"a": np.array([3.0, -4.0], np.float32), "b": np.array([True, False])}


def test_errors_are_the_largest_of_all_outputs():
    actual = {"a": np.array([3.0, -3.0], np.float32), "b": EXPECTED["b"]}
    accuracy = compare(actual, EXPECTED)
    assert accuracy.max_abs_error == 1.0
    assert accuracy.relative_error == pytest.approx(1 / 5)


def test_equal_outputs_have_no_error_infinities_included():
    expected = {"a": np.array([-np.inf, 1.0]), "empty": np.zeros((0, 3)), "zero": np.zeros(2)}
    assert compare(expected, expected).relative_error == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros((2, 1), np.float32)}, r"a must be of shape \(2,\), got \(2, 1\)"),
        ({"a": np.array([np.nan, -4.0], np.float32)}, "a is not finite"),
        ({"a": None}, "a must be of shape"),
    ],
)
def test_other_shapes_nan_and_missing_outputs_are_refused(change, message):
    actual = {k: v for k, v in {**EXPECTED, **change}.items() if v is not None}
    with pytest.raises(WrongOutputsError, match=message):
        compare(actual, EXPECTED)


def test_each_precision_has_its_limit():
    noise = np.random.default_rng(0).standard_normal(1000)
    accuracy = compare({"a": noise * 1.01}, {"a": noise})
    check(accuracy, "bfloat16")
    with pytest.raises(WrongOutputsError, match=r"relative error 1\.0e-02"):
        check(accuracy, "float32")
    garbage = compare({"a": np.roll(noise, 1)}, {"a": noise})
    with pytest.raises(WrongOutputsError):
        check(garbage, "bfloat16")
