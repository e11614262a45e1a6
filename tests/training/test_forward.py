"""The model is trained through the computations that it is used with."""

import numpy as np
import pytest
import torch

from sam_tvm.scenes.drawing import TRAINING, draw_scene, generator
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.training import forward
from sam_tvm.training.batches import box_tensors, pixels

TEXTS = ["red circle", "visual", "the large star"]


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(generator(TRAINING, 0, number), 128) for number in range(2)]


@pytest.fixture(scope="module")
def prompts(scenes):
    """A phrase, a box, and a phrase with a negative box; the last about the second scene."""
    return [
        TrainingPrompt(TEXTS[0], (), ()),
        TrainingPrompt(TEXTS[1], (0,), (), scenes[0].box(0)),
        TrainingPrompt(TEXTS[2], (), (0,), scenes[1].box(0), positive=False),
    ]


@pytest.fixture(scope="module")
def grounded(small_model, scenes, prompts):
    with torch.no_grad():
        picture = forward.encode_pictures(small_model, pixels(scenes))
        text = forward.encode_text(small_model, forward.tokenised(small_model, TEXTS))
        image_ids = torch.tensor([0, 0, 1])
        return forward.ground(small_model, picture, image_ids, text, box_tensors(prompts))


@pytest.mark.parametrize("index", range(3))
def test_grounding_is_that_of_the_model(small_model, scenes, prompts, grounded, index):
    from sam3.model.sam3_image_processor import Sam3Processor

    scene, prompt = scenes[index // 2], prompts[index]
    processor = Sam3Processor(small_model, resolution=128, device="cpu", confidence_threshold=-1)
    state = processor.set_image(torch.from_numpy(np.moveaxis(scene.image, -1, 0).copy()))
    state = processor.set_text_prompt(prompt.text, state)
    if prompt.box is not None:
        processor.add_geometric_prompt(prompt.box.tolist(), prompt.positive, state)
    with torch.inference_mode():
        expected = small_model.forward_grounding(
            backbone_out=state["backbone_out"],
            find_input=processor.find_stage,
            geometric_prompt=state["geometric_prompt"],
            find_target=None,
        )
    last = grounded.logits.shape[0] - 1
    pairs = {
        "pred_logits": grounded.logits[last, index][:, None],
        "pred_boxes": grounded.boxes[last, index],
        "presence_logit_dec": grounded.presence[last, index][None],
        "pred_masks": grounded.masks[index],
        "semantic_seg": grounded.semantic[index][None],
    }
    for name, ours in pairs.items():
        assert torch.allclose(ours, expected[name][0], rtol=1e-4, atol=1e-4), name
    assert torch.allclose(forward.scores(grounded)[index], state["scores"], atol=1e-5)


def test_second_set_of_queries_leaves_the_first_as_it_is(small_model, scenes, prompts, grounded):
    with torch.no_grad():
        picture = forward.encode_pictures(small_model, pixels(scenes))
        text = forward.encode_text(small_model, forward.tokenised(small_model, TEXTS))
        both = forward.ground(
            small_model,
            picture,
            torch.tensor([0, 0, 1]),
            text,
            box_tensors(prompts),
            both_sets=True,
            masked=torch.tensor([2]),
        )
    queries = grounded.logits.shape[-1]
    assert both.logits.shape[-1] == 2 * queries
    assert torch.allclose(both.logits[..., :queries], grounded.logits, atol=1e-4)
    assert torch.allclose(both.boxes[:, :, :queries], grounded.boxes, atol=1e-4)
    assert torch.allclose(both.masks, grounded.masks[2:], atol=1e-3)


def test_reference_boxes_start_as_a_grid_over_the_picture(small_model):
    boxes = small_model.transformer.decoder.reference_points.weight.sigmoid()
    assert boxes.min() > 0
    assert boxes.max() < 1
    assert len({tuple(box) for box in boxes[:, :2].round(decimals=4).tolist()}) == len(boxes)
