"""``SLatFlowModel`` on tensors: the denoiser of structured latents on N voxels.

Two residual blocks halve the grid to M coarse voxels, a transformer works on those with a
condition, and two more blocks bring the grid back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse.convolution import SubmanifoldConv
from sam_tvm.models.sam3d.sparse.layers import (
    PositionTable,
    cross_attention,
    feed_forward,
    linear,
    self_attention,
)
from sam_tvm.models.sam3d.sparse.tables import rows, with_missing_row


@dataclass(frozen=True)
class Grids:
    """The plan of both grids: N voxels, and M that each hold one to eight of them.

    Attributes:
        neighbours: (N, 27).
        parent: (N,), from 0.
        children: (M, 8).
        coarse_neighbours: (M, 27).
    """

    neighbours: Tensor
    parent: Tensor
    children: Tensor
    coarse_neighbours: Tensor


def downsample(x: Tensor, children: Tensor) -> Tensor:
    """``SparseDownsample``: children's sum by their number and one more, (N, C) to (M, C).

    The reference's `scatter_reduce` counts the zero that it starts from.
    """
    total = rows(with_missing_row(x), children).sum(1)
    count = (children > 0).to(x.dtype).sum(1, keepdim=True)
    return total / (count + 1)


class ResBlock(nn.Module):
    """``SparseResBlock3d``; its grid may be halved first, or brought back."""

    def __init__(self, reference: nn.Module) -> None:
        super().__init__()
        self.downsample, self.upsample = reference.downsample, reference.upsample
        self.norm1, self.norm2 = reference.norm1, reference.norm2
        self.conv1 = SubmanifoldConv(reference.conv1)
        self.conv2 = SubmanifoldConv(reference.conv2)
        self.emb_layers = reference.emb_layers
        self.skip_connection = reference.skip_connection

    def forward(self, x: Tensor, embedding: Tensor, grids: Grids) -> Tensor:
        """Features of the block's grid, (N, C) or (M, C); `embedding` is (1, D)."""
        scale, shift = self.emb_layers(embedding).chunk(2, dim=1)
        if self.downsample:
            x = downsample(x, grids.children)
        neighbours = grids.coarse_neighbours if self.downsample else grids.neighbours
        h = F.silu(self.norm1(x))
        if self.upsample:
            h = self.conv1.of_copies(h, grids.parent, neighbours)
        else:
            h = self.conv1(h, neighbours)
        skip = x if isinstance(self.skip_connection, nn.Identity) else self._skip(x)
        if self.upsample:
            skip = torch.index_select(skip, 0, grids.parent)
        return self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift), neighbours, skip)

    def _skip(self, x: Tensor) -> Tensor:
        return linear(x, self.skip_connection)


def _block(block: nn.Module, x: Tensor, embedding: Tensor, condition: Tensor) -> Tensor:
    """``ModulatedSparseTransformerCrossBlock`` on (M, C)."""
    modulation = block.adaLN_modulation(embedding).chunk(6, dim=1)
    shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation
    h = block.norm1(x) * (1 + scale_msa) + shift_msa
    x = x + self_attention(h, block.self_attn) * gate_msa
    x = x + cross_attention(block.norm2(x), condition, block.cross_attn)
    h = block.norm3(x) * (1 + scale_mlp) + shift_mlp
    return x + feed_forward(h, block.mlp) * gate_mlp


class SlatFlow(nn.Module):
    """The denoiser, with the parameters of a ``SLatFlowModelTdfyWrapper``.

    Raises:
        NotImplementedError: for a configuration that no published checkpoint has.
    """

    def __init__(self, reference: nn.Module) -> None:
        super().__init__()
        if reference.pe_mode != "ape" or reference.share_mod or reference.is_shortcut_model:
            raise NotImplementedError("SLatFlowModel: pe_mode, share_mod, is_shortcut_model")
        if len(reference.io_block_channels) != 1 or not reference.use_skip_connection:
            raise NotImplementedError("SLatFlowModel: io_block_channels, use_skip_connection")
        self.t_embedder = reference.t_embedder
        self.pos_embedder = PositionTable(
            reference.pos_embedder, reference.resolution // reference.patch_size
        )
        self.input_layer, self.out_layer = reference.input_layer, reference.out_layer
        self.input_blocks = nn.ModuleList(map(ResBlock, reference.input_blocks))
        self.blocks = reference.blocks
        self.out_blocks = nn.ModuleList(map(ResBlock, reference.out_blocks))

    def forward(
        self,
        feats: Tensor,
        coords: Tensor,
        t: Tensor,
        cond: Tensor,
        coarse_coords: Tensor,
        neighbours: Tensor,
        coarse_neighbours: Tensor,
        parent: Tensor,
        children: Tensor,
    ) -> tuple[Tensor]:
        """The flow at latents (N, 8) and times (1,), under a condition (1, T, D); see `Grids`.

        `coords` is the reference's; here the plan stands for it.
        """
        grids = Grids(neighbours, parent, children, coarse_neighbours)
        embedding = self.t_embedder(t)
        h = linear(feats, self.input_layer)
        skips = []
        for block in self.input_blocks:
            h = block(h, embedding, grids)
            skips.append(h)
        h = h + self.pos_embedder(coarse_coords)
        for block in self.blocks:
            h = _block(block, h, embedding, cond)
        for block in self.out_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), embedding, grids)
        h = F.layer_norm(h, h.shape[-1:])
        return (linear(h, self.out_layer),)
