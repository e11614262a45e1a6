"""Layers that the sparse modules share: linear, position, normalisation, attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse.tables import rows
from sam_tvm.patches import windowed_attention as windowed_attention_operator

windowed_attention_operator.declare()

_SHORTEST = 1e-12  # length that `F.normalize` divides by at least


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """``SparseLinear`` on features."""
    return F.linear(x, layer.weight, layer.bias)


def feed_forward(x: Tensor, reference: nn.Module) -> Tensor:
    """``SparseFeedForwardNet``: linear, GELU (tanh), linear."""
    return linear(F.gelu(linear(x, reference.mlp[0]), approximate="tanh"), reference.mlp[2])


class PositionTable(nn.Module):
    """``AbsolutePositionEmbedder`` of voxels, by a table of the coordinates that there are.

    The table depends on constants alone, so it is made when the component is built.

    Attributes:
        freqs: (F,); three coordinates make 6F channels, the others are zeros.
    """

    def __init__(self, reference: nn.Module, resolution: int) -> None:
        super().__init__()
        self.channels, self.resolution = reference.channels, resolution
        self.register_buffer("freqs", reference.freqs, persistent=False)

    def forward(self, coords: Tensor) -> Tensor:
        """(N, 3) integers below the resolution to (N, channels)."""
        angles = torch.outer(torch.arange(self.resolution, dtype=self.freqs.dtype), self.freqs)
        table = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
        embedding = rows(table, coords).reshape(-1, 3 * table.shape[1])
        return F.pad(embedding, (0, self.channels - embedding.shape[1]))


def group_norm(x: Tensor, reference: nn.GroupNorm, rows_per_voxel: int) -> Tensor:
    """``SparseGroupNorm32`` of one object: over all voxels and the channels of a group.

    There are millions of numbers to a group. The sums over a voxel are float32 and those over the
    voxels float64, so that their rounding does not grow with the number of voxels.

    Args:
        x: (N * rows_per_voxel, C).
        reference: for groups, eps, weight and bias (C,).
        rows_per_voxel: rows whose sum comes first.
    """
    channels, groups = x.shape[1], reference.num_groups

    def mean(values: Tensor) -> Tensor:
        voxels = values.reshape(-1, rows_per_voxel, channels).mean(1)
        voxels = voxels.reshape(-1, groups, channels // groups).mean(2)
        total = voxels.to(torch.float64).mean(0).to(values.dtype)
        return total[:, None].expand(-1, channels // groups).reshape(channels)

    centred = x - mean(x)
    deviation = torch.rsqrt(mean(centred * centred) + reference.eps)
    return centred * (deviation * reference.weight) + reference.bias


def rms_norm(x: Tensor, reference: nn.Module) -> Tensor:
    """``SparseMultiHeadRMSNorm`` of (N, heads, channels).

    Its `F.normalize` becomes powers, which TVM computes one number at a time.
    """
    length = (x * x).sum(-1, keepdim=True).sqrt().clamp_min(_SHORTEST)
    return x / length * reference.gamma * reference.scale


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of (batch, positions, heads, channels), as (batch, positions, heads * channels)."""
    q, k, v = (x.permute(0, 2, 1, 3) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v)
    return out.permute(0, 2, 1, 3).flatten(2)


def self_attention(x: Tensor, reference: nn.Module) -> Tensor:
    """``SparseMultiHeadAttention`` of every position to every position, (N, C) to (N, C)."""
    qkv = linear(x, reference.to_qkv).unflatten(1, (3, reference.num_heads, -1))
    q, k, v = qkv.unbind(1)
    if reference.qk_rms_norm:
        q, k = rms_norm(q, reference.q_rms_norm), rms_norm(k, reference.k_rms_norm)
    return linear(attention(q[None], k[None], v[None])[0], reference.to_out)


def cross_attention(x: Tensor, context: Tensor, reference: nn.Module) -> Tensor:
    """The same of (N, C) to a context (1, T, D)."""
    heads = reference.num_heads
    q = linear(x, reference.to_q).unflatten(1, (heads, -1))[None]
    k, v = linear(context, reference.to_kv).unflatten(2, (2, heads, -1)).unbind(2)
    return linear(attention(q, k, v)[0], reference.to_out)


def windowed_attention(x: Tensor, windows: Tensor, slots: Tensor, reference: nn.Module) -> Tensor:
    """The same, where positions attend to those in their window.

    Args:
        x: (N, C).
        windows: (W, L), the voxels of each window from 1, then zeros.
        slots: (N,), each voxel's place in the flattened `windows`, from 0.
        reference: the module.
    """
    qkv = linear(x, reference.to_qkv).unflatten(1, (3, reference.num_heads, -1))
    out = torch.ops.sam_tvm.windowed_attention(qkv, windows, slots)
    return linear(out, reference.to_out)
