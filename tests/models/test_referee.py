"""The float64 referee against formulas written out in NumPy's float64."""

import copy

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sam_tvm.models.presets import TINY
from sam_tvm.models.referee import float64_evaluation, to_float64

ROUNDING = 1e-12  # relative; float32 would leave 1e-7 or more
SIDE = TINY.sam3.image_size
NARROW = {torch.float16, torch.bfloat16, torch.float32, torch.complex64}


class SeenDtypes(TorchDispatchMode):
    """Collects the dtypes of all that any operator returns."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        leaves = pytree.tree_leaves(outputs)
        self.dtypes |= {leaf.dtype for leaf in leaves if isinstance(leaf, torch.Tensor)}
        return outputs


@pytest.fixture(scope="module")
def run_in_float32(tiny):
    """Return the tiny model's inputs and outputs; its caches now hold float32 tables."""
    inputs = example_inputs()
    return inputs, whole_model(tiny, inputs)


@pytest.fixture
def module(tiny, run_in_float32):
    """Return a copy of the tiny model, caches included, for the referee to convert."""
    return copy.deepcopy(tiny)


def example_inputs():
    generator = torch.Generator().manual_seed(0)
    return {
        "pixels": torch.rand(1, 3, SIDE, SIDE, generator=generator) * 2 - 1,
        "points": torch.tensor([[[0.4, 0.3]], [[0.7, 0.6]]]),
        "points_labels": torch.tensor([[1], [0]]),
        "boxes": torch.tensor([[[0.45, 0.55, 0.3, 0.4]]]),
        "boxes_labels": torch.tensor([[1]]),
    }


def whole_model(model, inputs):
    """Everything from pixels and prompts to masks, boxes and scores."""
    from sam3.model.data_misc import FindStage
    from sam3.model.geometry_encoders import Prompt

    backbone_out = model.backbone.forward_image(inputs["pixels"])
    backbone_out.update(model.backbone.forward_text(["a cat"], device="cpu"))
    outputs = model.forward_grounding(
        backbone_out=backbone_out,
        find_input=FindStage(torch.tensor([0]), torch.tensor([0]), *[None] * 5),
        find_target=None,
        geometric_prompt=Prompt(
            box_embeddings=inputs["boxes"],
            box_labels=inputs["boxes_labels"],
            point_embeddings=inputs["points"],
            point_labels=inputs["points_labels"],
        ),
    )
    names = ("pred_masks", "semantic_seg", "pred_logits", "pred_boxes", "presence_logit_dec")
    return {
        **{f"fpn_{i}": level for i, level in enumerate(backbone_out["backbone_fpn"])},
        **{f"pos_{i}": level for i, level in enumerate(backbone_out["vision_pos_enc"])},
        "memory": outputs["encoder_hidden_states"],
        "hs": outputs["queries"],
        **{name: outputs[name] for name in names},
    }


def test_nothing_narrower_than_float64_is_computed(module, run_in_float32):
    inputs, _ = run_in_float32
    inputs = to_float64(inputs)
    with float64_evaluation(module), SeenDtypes() as seen:
        outputs = whole_model(module, inputs)
    assert {output.dtype for output in outputs.values()} == {torch.float64}
    assert torch.complex128 in seen.dtypes  # the rotary embedding
    assert not seen.dtypes & NARROW


def test_double_alone_computes_in_float32(module, run_in_float32):
    inputs, _ = run_in_float32
    with SeenDtypes() as seen:
        module.double().backbone.forward_image(to_float64(inputs["pixels"]))
    assert seen.dtypes & NARROW  # if not, the referee is needless


def test_float32_results_are_close_to_the_referee(module, run_in_float32):
    inputs, outputs = run_in_float32
    with float64_evaluation(module):
        exact = whole_model(module, to_float64(inputs))
    for name, output in outputs.items():
        error = (output.double() - exact[name]).abs().max() / exact[name].abs().max()
        assert 1e-9 < error < 2e-5, name


def test_rope_attention_equals_the_formula(module):
    attention = module.backbone.vision_backbone.trunk.blocks[0].attn
    tokens = torch.randn(2, 6, 6, 128, generator=torch.Generator().manual_seed(1))
    cos, sin = attention.freqs_cis.real.double().numpy(), attention.freqs_cis.imag.double().numpy()
    expected = attention_formula(attention, tokens.double().numpy(), cos, sin)
    assert relative_error(attention(tokens), expected) > 1e-8
    with float64_evaluation(attention):
        assert relative_error(attention(tokens.double()), expected) < ROUNDING


def attention_formula(attention, tokens, cos, sin):
    weights = {key: tensor.numpy() for key, tensor in attention.named_parameters()}
    weights = {key: value.astype(np.float64) for key, value in weights.items()}
    windows, height, width, dim = tokens.shape
    heads = attention.num_heads
    qkv = tokens.reshape(windows, height * width, dim) @ weights["qkv.weight"].T
    qkv = (qkv + weights["qkv.bias"]).reshape(windows, -1, 3, heads, dim // heads)
    query, key, value = qkv.transpose(2, 0, 3, 1, 4)

    def rotate(x):
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
        return turned.reshape(x.shape)

    logits = rotate(query) @ rotate(key).swapaxes(-1, -2) / np.sqrt(dim // heads)
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mixed = weight / weight.sum(axis=-1, keepdims=True) @ value
    mixed = mixed.transpose(0, 2, 1, 3).reshape(tokens.shape)
    return mixed @ weights["proj.weight"].T + weights["proj.bias"]


def test_box_attention_bias_equals_the_formula(module):
    decoder = module.transformer.decoder
    boxes = torch.rand(32, 2, 4, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    expected = box_bias_formula(decoder, boxes.double().numpy(), size=16)
    assert relative_error(decoder._get_rpb_matrix(boxes, (16, 16)), expected) > 1e-8
    with float64_evaluation(decoder):
        bias = decoder._get_rpb_matrix(boxes.double(), (16, 16))
    assert relative_error(bias, expected) < ROUNDING


def box_bias_formula(decoder, boxes, size):
    def edge_distances(axis):  # to both edges of every box along one axis, on a log scale
        centre, extent = boxes[..., axis].T, boxes[..., axis + 2].T
        edges = np.stack([centre - extent / 2, centre + extent / 2], axis=-1)
        distance = 8 * (np.arange(size)[:, None] / size - edges[:, :, None, :])
        return np.sign(distance) * np.log2(np.abs(distance) + 1) / 3

    def mlp(layers, x):
        (w0, b0), (w1, b1) = (
            (layer.weight.double().numpy(), layer.bias.double().numpy()) for layer in layers
        )
        return np.maximum(x @ w0.T + b0, 0) @ w1.T + b1

    along_x = mlp(decoder.boxRPB_embed_x.layers, edge_distances(0))  # (batch, query, size, head)
    along_y = mlp(decoder.boxRPB_embed_y.layers, edge_distances(1))
    bias = along_y[:, :, :, None] + along_x[:, :, None]
    return bias.reshape(*bias.shape[:2], size * size, -1).transpose(0, 3, 1, 2)


def test_cached_positions_are_computed_anew(module, run_in_float32):
    encoding = module.backbone.vision_backbone.position_encoding
    expected = sine_position_formula(size=16, features=32)
    image = torch.zeros(1, 64, 16, 16)
    assert (16, 16) in encoding.cache
    assert relative_error(encoding(image), expected) > 1e-8
    with float64_evaluation(encoding):
        assert relative_error(encoding(image.double()), expected) < ROUNDING


def sine_position_formula(size, features):
    position = 2 * np.pi * np.arange(1, size + 1) / (size + 1e-6)
    angle = position[:, None] / 10000 ** (2 * (np.arange(features) // 2) / features)
    axis = np.where(np.arange(features) % 2, np.cos(angle), np.sin(angle)).T
    along_y = np.broadcast_to(axis[:, :, None], (features, size, size))
    along_x = np.broadcast_to(axis[:, None, :], (features, size, size))
    return np.concatenate([along_y, along_x])[None]


def test_torch_is_as_before_afterwards(module):
    before = torch.ones(2)
    with pytest.raises(RuntimeError, match="stop"), float64_evaluation(module.geometry_encoder):
        assert torch.ones(2).dtype == before.float().dtype == torch.float64
        raise RuntimeError("stop")
    assert torch.ones(2).dtype == before.double().float().dtype == torch.float32


def test_to_float64_keeps_structure_and_integers():
    tree = {"a": [torch.ones(1), torch.tensor([1])], "b": (torch.ones(1).half(), "text", None)}
    wide = to_float64(tree)
    assert wide["a"][0].dtype == wide["b"][0].dtype == torch.float64
    assert wide["a"][1].dtype == torch.int64
    assert wide["b"][1:] == ("text", None)


def relative_error(tensor, expected):
    return np.abs(tensor.double().numpy() - expected).max() / np.abs(expected).max()
