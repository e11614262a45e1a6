"""Box and point prompts as arrays."""

import numpy as np
import pytest

from sam_tvm.runtime.errors import PromptError
from sam_tvm.runtime.prompts import GeometricPrompt

BOX = (0.5, 0.4, 0.2, 0.1)


def test_no_prompt_is_one_masked_slot():
    arrays = GeometricPrompt().arrays()
    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        "points": ((1, 1, 2), "float32"),
        "points_labels": ((1, 1), "int64"),
        "points_mask": ((1, 1), "bool"),
        "boxes": ((1, 1, 4), "float32"),
        "boxes_labels": ((1, 1), "int64"),
        "boxes_mask": ((1, 1), "bool"),
    }
    assert arrays["points_mask"].all() and arrays["boxes_mask"].all()


def test_prompts_keep_their_order_and_labels():
    prompt = GeometricPrompt()
    prompt.append_box(BOX, True)
    prompt.append_box([0.1, 0.2, 0.3, 0.4], False)
    prompt.append_point(np.array([0.25, 0.75]), np.True_)
    arrays = prompt.arrays()
    np.testing.assert_array_equal(
        arrays["boxes"][:, 0], np.array([BOX, [0.1, 0.2, 0.3, 0.4]], np.float32)
    )
    np.testing.assert_array_equal(arrays["boxes_labels"], [[1], [0]])
    np.testing.assert_array_equal(arrays["boxes_mask"], [[False, False]])
    np.testing.assert_array_equal(arrays["points"], [[[0.25, 0.75]]])
    np.testing.assert_array_equal(arrays["points_labels"], [[1]])
    np.testing.assert_array_equal(arrays["points_mask"], [[False]])


def test_a_copy_is_independent():
    prompt = GeometricPrompt()
    prompt.copy().append_box(BOX, True)
    assert prompt == GeometricPrompt()


@pytest.mark.parametrize(
    "box", [(0.5, 0.4, 0.2), (0.5, 0.4, 0.2, float("nan")), (0.5, 0.4, 0.2, np.inf), None, "abcd"]
)
def test_boxes_that_are_no_four_numbers_are_refused(box):
    prompt = GeometricPrompt()
    with pytest.raises(PromptError, match="a box needs"):
        prompt.append_box(box, True)
    assert prompt == GeometricPrompt()


@pytest.mark.parametrize("label", ["positive", 2, -1, None, 1.0])
def test_unknown_labels_are_refused(label):
    prompt = GeometricPrompt()
    with pytest.raises(PromptError, match="label"):
        prompt.append_point((0.5, 0.5), label)
    assert prompt == GeometricPrompt()
