"""Layers on tensors alone: norms over many voxels, positions, attention in windows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse import layers
from sam_tvm.patches.environment import reference_environment
from sam_tvm.runtime.sparse import window_plan


@pytest.fixture(autouse=True)
def sam3d():
    torch.manual_seed(0)
    with reference_environment("sam3d"), torch.no_grad():
        yield


def test_group_norm_is_over_all_voxels_and_keeps_its_precision():
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight)
    x = 30 + torch.randn(8 * 20000, 12)
    expected = F.group_norm(
        x.double().T[None], 4, norm.weight.double(), norm.bias.double(), norm.eps
    )
    actual = layers.group_norm(x, norm, 8)
    torch.testing.assert_close(actual.double(), expected[0].T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [64, 96])
def test_positions_are_those_of_the_reference(channels):
    from sam3d_objects.model.backbone.tdfy_dit.modules.transformer import AbsolutePositionEmbedder

    reference = AbsolutePositionEmbedder(channels)
    coords = torch.randint(0, 16, (50, 3), dtype=torch.int32)
    assert torch.equal(layers.PositionTable(reference, 16)(coords), reference(coords))


def test_rms_norm_is_that_of_the_reference():
    from sam3d_objects.model.backbone.tdfy_dit.modules.sparse.attention.modules import (
        SparseMultiHeadRMSNorm,
    )

    reference = SparseMultiHeadRMSNorm(16, 3)
    nn.init.normal_(reference.gamma)
    x = torch.randn(20, 3, 16)
    x[4] = 0  # has no direction
    torch.testing.assert_close(layers.rms_norm(x, reference), reference(x))


@pytest.mark.parametrize("shift", [0, 2])
def test_voxels_attend_to_those_in_their_window_alone(shift):
    channels, heads = 12, 3
    module = nn.Module()
    module.to_qkv, module.to_out = nn.Linear(channels, 3 * channels), nn.Identity()
    module.to_out = nn.Linear(channels, channels)
    module.num_heads = heads
    coords = (torch.rand(8, 8, 8) < 0.15).nonzero().int()
    x = torch.randn(len(coords), channels)
    plan = window_plan(coords.numpy(), 4, shift)
    q, k, v = module.to_qkv(x).reshape(-1, 3, heads, channels // heads).permute(1, 2, 0, 3)
    cell = (coords + shift) // 4
    same = (cell[:, None] == cell[None]).all(2)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=same)
    expected = module.to_out(expected.permute(1, 0, 2).flatten(1))
    tables = torch.from_numpy(plan.windows), torch.from_numpy(plan.slot)
    assert (tables[0] == 0).any()
    torch.testing.assert_close(layers.windowed_attention(x, *tables, module), expected)
