"""The detector's objectives against known answers and `sam3`'s own functions."""

import numpy as np
import pytest
import torch

from sam_tvm.scenes.drawing import TRAINING, draw_scene, generator
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.training.detection import (
    WEIGHTS,
    Targets,
    box_overlaps,
    detection_losses,
    dice_loss,
    make_targets,
    match,
)
from sam_tvm.training.forward import Predictions

LAYERS, QUERIES, SIDE = 2, 5, 16


@pytest.fixture(scope="module", autouse=True)
def _environment(environment):
    """`sam3`'s matcher needs it to be imported."""


@pytest.fixture
def targets():
    """Three prompts: two objects, none, one."""
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.6, 0.3, 0.4], [0.5, 0.5, 0.6, 0.2]])
    masks = torch.zeros(3, SIDE, SIDE)
    for mask, (x, y, w, h) in zip(masks, boxes * SIDE, strict=True):
        mask[
            round(float(y - h / 2)) : round(float(y + h / 2)),
            round(float(x - w / 2)) : round(float(x + w / 2)),
        ] = 1
    return Targets(torch.tensor([2, 0, 1]), boxes, masks)


def perfect(targets):
    """Predictions that are right: objects in the first queries, the second set three times."""
    logits = torch.full((LAYERS, 3, 2 * QUERIES + 1), -10.0)
    boxes = torch.full((LAYERS, 3, 2 * QUERIES + 1, 4), 0.05)
    masks = torch.full((3, QUERIES, SIDE, SIDE), -20.0)
    start = 0
    for row, count in enumerate(targets.counts.tolist()):
        own = slice(start, start + count)
        for first, copies in ((0, 1), (QUERIES, 3)):
            at = slice(first, first + count * copies)
            logits[:, row, at] = 10.0
            boxes[:, row, at] = targets.boxes[own].repeat(copies, 1)
        masks[row, :count] = targets.masks[own] * 40 - 20
        start += count
    presence = (targets.counts > 0).float().expand(LAYERS, 3) * 20 - 10
    return Predictions(logits, boxes, presence, masks, targets.semantic * 40 - 20)


def test_right_predictions_have_next_to_no_loss(targets):
    losses = detection_losses(perfect(targets), targets, torch.arange(3))
    assert losses.keys() == WEIGHTS.keys()
    for name, loss in losses.items():
        assert float(loss) == pytest.approx(0, abs=1e-2), name


def test_every_mistake_raises_the_loss_that_is_about_it(targets):
    def changed(**parts):
        return detection_losses(
            Predictions(**{**vars(perfect(targets)), **parts}), targets, torch.arange(3)
        )

    right = perfect(targets)
    moved = right.boxes + torch.tensor([0.1, 0, 0, 0])
    assert changed(boxes=moved)["l1"] > 0.15
    assert changed(boxes=moved)["giou"] > 0.3
    assert changed(logits=-right.logits)["score"] > 5
    assert changed(presence=-right.presence)["presence"] > 5
    assert changed(masks=-right.masks)["mask"] > 5
    assert changed(masks=-right.masks)["dice"] > 0.5
    assert changed(semantic=-right.semantic)["semantic"] > 5


def test_matching_is_one_to_one_in_every_layer(targets):
    right = perfect(targets)
    shuffled = torch.tensor([3, 4, 0, 1, 2])  # the objects' queries are 2 and 3
    logits, boxes = (
        right.logits[..., :QUERIES][..., shuffled],
        right.boxes[:, :, :QUERIES][:, :, shuffled],
    )
    found = match(logits.flatten(0, 1), boxes.flatten(0, 1), targets)
    assert found.rows.tolist() == [0, 0, 2, 3, 3, 5]
    assert found.queries.tolist() == [2, 3, 2] * 2
    assert found.objects.tolist() == [0, 1, 2] * 2


def test_matching_of_copies_gives_each_object_as_many_queries(targets):
    right = perfect(targets)
    logits, boxes = right.logits[..., QUERIES:], right.boxes[:, :, QUERIES:]
    found = match(logits.flatten(0, 1), boxes.flatten(0, 1), targets, repeats=3)
    last_layer = found.rows >= 3
    assert np.bincount(found.objects[last_layer]).tolist() == [3, 3, 3]
    assert torch.equal(boxes.flatten(0, 1)[found.rows, found.queries], targets.boxes[found.objects])


def test_prompts_that_ask_for_nothing_still_have_losses():
    nothing = Targets(
        torch.zeros(2, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0, SIDE, SIDE)
    )
    shape = (LAYERS, 2, 2 * QUERIES)
    predictions = Predictions(
        torch.zeros(shape, requires_grad=True),
        torch.full((*shape, 4), 0.5, requires_grad=True),
        torch.zeros(LAYERS, 2, requires_grad=True),
        torch.zeros(2, QUERIES, SIDE, SIDE, requires_grad=True),
        torch.zeros(2, SIDE, SIDE, requires_grad=True),
    )
    losses = detection_losses(predictions, nothing, torch.arange(2))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["presence"] > 1
    assert losses["l1"] == losses["dice"] == 0


def test_overlaps_are_those_of_sam3():
    from sam3.model.box_ops import box_cxcywh_to_xyxy, box_iou, generalized_box_iou

    boxes = torch.rand(2, 40, 4, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    first, second = boxes
    iou, giou = box_overlaps(first, second)
    corners = [box_cxcywh_to_xyxy(own) for own in boxes]
    assert torch.allclose(iou, box_iou(*corners)[0].diagonal(), atol=1e-6)
    assert torch.allclose(giou, generalized_box_iou(*corners).diagonal(), atol=1e-6)


def test_dice_of_half_an_object():
    masks = torch.zeros(1, 4, 4)
    masks[0, :2] = 1
    logits = torch.full((1, 4, 4), -100.0)
    logits[0, 0] = 100.0
    assert float(dice_loss(logits, masks)) == pytest.approx(1 - (2 * 4 + 1) / (4 + 8 + 1))


def test_targets_hold_the_masks_and_boxes_that_were_drawn():
    scene = draw_scene(generator(TRAINING, 0, 3), 64, most=4)
    everything = tuple(range(len(scene.things)))
    prompts = [TrainingPrompt("object", everything, everything), TrainingPrompt("dog", (), ())]
    targets = make_targets([scene], [prompts], 32)
    assert targets.counts.tolist() == [len(everything), 0]
    assert np.array_equal(targets.boxes.numpy(), [scene.box(index) for index in everything])
    seen = targets.masks.sum((1, 2)) * 4
    assert seen.tolist() == [scene.mask(index).sum() for index in everything]
    assert float(targets.semantic[0].sum()) * 4 == (scene.owner >= 0).sum()
    assert not targets.semantic[1].any()
