"""The dense objectives judge what training shows, and nothing that it never shows."""

import pytest
import torch

from sam_tvm.scenes.phrases import VALUES
from sam_tvm.scenes.vocabulary import HELD_OUT
from sam_tvm.training.dense import CLASSES, NO_LABEL, attribute_loss


def classes(colour, shape):
    """Class numbers of a colour and a shape."""
    return 1 + VALUES["colour"].index(colour), 1 + VALUES["shape"].index(shape)


def shape_gradient(colour, shape):
    """The gradient of the loss for the logits of the shape, of a token of two classes."""
    logits = [torch.zeros(1, 1, 1, count, requires_grad=True) for count in CLASSES.values()]
    labels = torch.tensor([colour, shape, 1]).view(1, 3, 1, 1)
    attribute_loss(tuple(logits), labels).backward()
    return logits[list(CLASSES).index("shape")].grad.flatten()


@pytest.mark.parametrize("pair", sorted(HELD_OUT), ids=" ".join)
def test_a_shape_is_not_told_by_a_colour_that_it_is_never_shown_in(pair):
    colour, untaught = classes(*pair)
    shown = 1 if untaught != 1 else 2
    gradient = shape_gradient(colour, shown)
    assert gradient[untaught] == 0
    assert gradient[shown] < 0
    assert (gradient > 0).sum() == CLASSES["shape"] - 2


def test_a_colour_without_a_name_rules_no_shape_out():
    gradient = shape_gradient(NO_LABEL, 3)
    assert (gradient > 0).sum() == CLASSES["shape"] - 1
