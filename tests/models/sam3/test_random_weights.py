"""Random weights: reproducible, nowhere trivial, and useful for end-to-end cases."""

import re

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from sam_tvm.models.presets import TINY, get_preset
from sam_tvm.models.sam3.build import build_model
from sam_tvm.models.sam3.random_weights import fill_random, rule_for
from sam_tvm.models.sam3.weights import load_model

SMALLEST_GAP = 2e-3  # between the scores of detections and of the rest
CENTRE_BOX = [0.5, 0.5, 0.4, 0.5]  # cx, cy, w, h

CASES = {
    "text": {"text": "a cat"},
    "box": {"boxes": [(CENTRE_BOX, True)]},
    "negative box": {"boxes": [(CENTRE_BOX, True), ([0.2, 0.3, 0.2, 0.2], False)]},
    "text and box": {"text": "a cup", "boxes": [(CENTRE_BOX, True)]},
    "point": {"points": [([0.5, 0.4], 1)]},
}


def test_values_depend_on_seed_and_key_alone(tiny):
    decoder = build_model(get_preset("tiny").sam3).transformer.decoder
    holder = torch.nn.Module()
    holder.transformer = torch.nn.Module()
    holder.transformer.decoder = decoder
    fill_random(holder, seed=0)  # fewer tensors, another order
    for key, tensor in tiny.transformer.decoder.state_dict().items():
        assert torch.equal(decoder.state_dict()[key], tensor), key
    fill_random(holder, seed=1)
    assert not torch.equal(decoder.query_embed.weight, tiny.transformer.decoder.query_embed.weight)


def test_every_real_entry_is_drawn_and_none_is_constant():
    model = build_model(get_preset("tiny").sam3)
    frequencies = {k: t.clone() for k, t in model.state_dict().items() if t.is_complex()}
    for tensor in model.state_dict().values():
        if not tensor.is_complex():
            tensor.fill_(torch.nan)
    fill_random(model, seed=0)
    assert len(frequencies) == TINY.sam3.vision_depth
    for key, tensor in model.state_dict().items():
        if tensor.is_complex():
            assert torch.equal(tensor, frequencies[key])
            continue
        assert torch.isfinite(tensor).all(), key
        if tensor.numel() > 1:
            assert len(tensor.unique()) > tensor.numel() // 2, key


def test_values_follow_the_rule_of_their_key(tiny):
    state, patch = tiny.state_dict(), 3 * TINY.sam3.patch_size**2
    for key, std in {
        "backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight": 128**-0.5,
        "backbone.vision_backbone.trunk.patch_embed.proj.weight": patch**-0.5,
        "backbone.vision_backbone.convs.0.dconv_2x2_0.weight": 128**-0.5,
        "backbone.language_backbone.encoder.text_projection": 64**-0.5,
        "backbone.language_backbone.encoder.token_embedding.weight": 1.0,
        "segmentation_head.pixel_decoder.conv_layers.0.weight": (64 * 9) ** -0.5,
        "dot_prod_scoring.hs_proj.weight": 2 * 64**-0.5,
    }.items():
        assert state[key].std().item() == pytest.approx(std, rel=0.05), key
    norms = torch.cat([t for key, t in state.items() if key.endswith("norm2.weight")])
    assert norms.mean().item() == pytest.approx(1, abs=0.02)
    assert norms.std().item() == pytest.approx(0.1, rel=0.1)


def test_key_without_rule_is_an_error():
    with pytest.raises(KeyError, match="no rule for the random values of running_mean"):
        rule_for("running_mean")


def test_residual_streams_stay_of_order_one_to_thirty(tiny):
    streams = re.compile(r"(resblocks|trunk\.blocks|encode|encoder\.layers|convs)\.\d$")
    seen = {}

    def record(name):
        return lambda part, inputs, output: seen.update({name: output})

    handles = [
        part.register_forward_hook(record(name))
        for name, part in tiny.named_modules()
        if streams.search(name)
    ]
    detect(tiny, skimage.data.chelsea(), CASES["text and box"])
    for handle in handles:
        handle.remove()
    config, levels = TINY.sam3, 4
    layers = (config.text_layers, config.vision_depth, config.geometry_layers, config.fusion_layers)
    assert len(seen) == sum(layers) + levels
    for name, stream in seen.items():
        assert 1 < stream.std() < 5, name
        assert stream.abs().max() < 30, name


@pytest.mark.parametrize("picture", ["chelsea", "coffee", "astronaut"])
@pytest.mark.parametrize("case", CASES)
def test_tiny_case_has_a_clear_set_of_detections(tiny, picture, case):
    check_detections(detect(tiny, getattr(skimage.data, picture)(), CASES[case]))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["text", "box"])
def test_full_case_has_a_clear_set_of_detections(full, case):
    check_detections(detect(full, skimage.data.chelsea(), CASES[case], preset="full"))


@pytest.fixture(scope="module")
def full(environment):
    """Return the full model with random weights of seed 0."""
    model, _ = load_model(get_preset("full"), seed=0)
    return model


def check_detections(state):
    gap, count, threshold = widest_gap(state["scores"])
    assert gap >= SMALLEST_GAP
    assert 5 <= count <= 100
    covered = state["masks"][state["scores"] > threshold].float().mean(dim=(1, 2, 3))
    assert len(covered) == count
    assert covered.min() > 0.01
    assert covered.max() < 0.99


def test_prompts_and_pictures_change_the_scores(tiny):
    cat, coffee = skimage.data.chelsea(), skimage.data.coffee()
    runs = [
        (cat, CASES["text"]),
        (cat, {"text": "dogs"}),
        (cat, CASES["box"]),
        (coffee, CASES["text"]),
    ]
    scores = [detect(tiny, picture, case)["scores"] for picture, case in runs]
    for i, one in enumerate(scores):
        for other in scores[:i]:
            assert (one - other).abs().max() > SMALLEST_GAP


def detect(model, pixels, case, preset="tiny"):
    """Run sam3's own processor; keep all queries."""
    from sam3.model.sam3_image_processor import Sam3Processor

    size = get_preset(preset).sam3.image_size
    processor = Sam3Processor(model, resolution=size, device="cpu", confidence_threshold=-1)
    state = processor.set_image(Image.fromarray(pixels))
    if "text" in case:
        processor.set_text_prompt(case["text"], state)
    for box, label in case.get("boxes", ()):
        processor.add_geometric_prompt(box, label, state)
    if "points" in case:
        add_points(processor, state, case["points"])
    return state


def add_points(processor, state, points):
    """Prompt with points, which the processor has no method for."""
    text = processor.model.backbone.forward_text(["visual"], device="cpu")
    state["backbone_out"].update(text)
    state["geometric_prompt"] = processor.model._get_dummy_prompt()
    for point, label in points:
        state["geometric_prompt"].append_points(
            torch.tensor(point).view(1, 1, 2), torch.tensor([[label]])
        )
    processor._forward_grounding(state)


def widest_gap(scores):
    """Return the widest gap below 5 to 100 of the scores: width, scores above, middle."""
    ordered = np.sort(scores.numpy())[::-1]
    gaps = ordered[4:100] - ordered[5:101] if len(ordered) > 100 else ordered[4:-1] - ordered[5:]
    count = 5 + int(gaps.argmax())
    return gaps.max(), count, (ordered[count - 1] + ordered[count]) / 2
