"""Operation counts against formulas written by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sam_tvm import components
from sam_tvm.benchmark.flops import count
from sam_tvm.benchmark.operations import with_steps
from sam_tvm.models.presets import get_preset


def counted(function, *shapes):
    with torch.inference_mode():
        return count(lambda: function(*(torch.ones(shape) for shape in shapes)))


def test_linear():
    assert counted(nn.Linear(7, 11), (3, 5, 7)) == 2 * 15 * 7 * 11


def test_convolution_with_stride_padding_and_groups():
    layer = nn.Conv2d(6, 10, (3, 5), stride=2, padding=1, groups=2)
    out_height, out_width = (13 + 2 - 3) // 2 + 1, (17 + 2 - 5) // 2 + 1
    assert counted(layer, (2, 6, 13, 17)) == 2 * 2 * out_height * out_width * 10 * 3 * 3 * 5


def test_transposed_convolution():
    layer = nn.ConvTranspose2d(6, 10, 2, stride=2)
    assert counted(layer, (1, 6, 5, 7)) == 2 * 5 * 7 * 6 * 10 * 2 * 2


def test_gathered_products_count_rows_that_are_there():
    table = torch.tensor([[1, 0, 2], [0, 0, 1]], dtype=torch.int32)
    columns = torch.tensor([[0, 2], [1, 2]], dtype=torch.int32)
    x, weight, bias = torch.ones(4, 5), torch.ones(1, 2, 5, 7), torch.ones(7)
    offsets = torch.zeros_like(columns)

    def product():
        torch.ops.sam_tvm.gathered_product(x, table, weight, bias, columns, offsets)

    with torch.inference_mode():
        assert count(product) == 2 * (3 + 2) * 5 * 7


def test_windowed_attention_counts_no_padding():
    qkv, slots = torch.ones(4, 3, 2, 6), torch.arange(4, dtype=torch.int32)
    windows = torch.tensor([[1, 2, 3], [4, 0, 0]], dtype=torch.int32)

    def attend():
        torch.ops.sam_tvm.windowed_attention(qkv, windows, slots)

    with torch.inference_mode():
        assert count(attend) == 4 * (3 * 3 + 1) * 2 * 6


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked):
    """Which the CPU runs as one operator, without a mask or with one."""
    batch, heads, queries, keys, width = 2, 3, 29, 31, 16
    mask = torch.zeros(batch, heads, queries, keys) if masked else None
    shapes = [(batch, heads, length, width) for length in (queries, keys, keys)]
    flops = counted(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), *shapes)
    assert flops == 2 * 2 * batch * heads * queries * keys * width


def test_an_encoder_layer_is_counted_though_torch_fuses_it_into_one_operator():
    width, hidden, length = 32, 64, 19
    layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True).eval()
    projections = 2 * length * width * 4 * width
    attention = 2 * 2 * length * length * width
    feed_forward = 2 * 2 * length * width * hidden
    assert counted(layer, (1, length, width)) == projections + attention + feed_forward
    assert torch.backends.mha.get_fastpath_enabled()


def test_steps_of_the_end_to_end_run_are_sums_of_their_components():
    names = [component.name for component in components.components("sam3")]
    counts = {name: 10**index for index, name in enumerate(names)}
    functions = components.functions("sam3", get_preset("tiny"))
    sums = with_steps(counts, functions)
    assert sums["set_image"] == counts["vision_backbone"]
    assert sums["set_image"] + sums["text_prompt"] == sums["end_to_end"] == sum(counts.values())
    del counts["text_encoder"]
    assert "end_to_end" not in with_steps(counts, functions)
