"""The decoders of structured latents on tensors: to Gaussians, and to features of cubes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse.convolution import SubmanifoldConv
from sam_tvm.models.sam3d.sparse.layers import (
    PositionTable,
    feed_forward,
    group_norm,
    linear,
    windowed_attention,
)
from sam_tvm.models.sam3d.sparse.tables import fine_table

Windows = tuple[Tensor, Tensor]  # (W, L) voxels of each window from 1; (N,) slots from 0


class WindowTransformer(nn.Module):
    """``SparseTransformerBase``: transformer blocks in windows that every other one shifts.

    Raises:
        NotImplementedError: for a configuration that no published checkpoint has.
    """

    def __init__(self, reference: nn.Module) -> None:
        super().__init__()
        if reference.pe_mode != "ape" or reference.attn_mode != "swin" or reference.qk_rms_norm:
            raise NotImplementedError("SparseTransformerBase: pe_mode, attn_mode, qk_rms_norm")
        self.pos_embedder = PositionTable(reference.pos_embedder, reference.resolution)
        self.input_layer, self.out_layer = reference.input_layer, reference.out_layer
        self.blocks = reference.blocks

    def transform(self, feats: Tensor, coords: Tensor, windows: tuple[Windows, Windows]) -> Tensor:
        """Latents (N, 8) of voxels (N, 3) to (N, C).

        Args:
            feats: latents.
            coords: voxels.
            windows: the plans of the blocks with even and with odd numbers.
        """
        h = linear(feats, self.input_layer) + self.pos_embedder(coords)
        for number, block in enumerate(self.blocks):
            plan = windows[number % 2]
            h = h + windowed_attention(block.norm1(h), *plan, block.attn)
            h = h + feed_forward(block.norm2(h), block.mlp)
        return h


class GaussianDecoder(WindowTransformer):
    """``SLatGaussianDecoder``: G Gaussians to a voxel, by the names of their attributes."""

    def __init__(self, reference: nn.Module) -> None:
        super().__init__(reference)
        self.config, self.layout = reference.rep_config, reference.layout
        self.resolution = reference.resolution
        offset = reference.offset_perturbation
        if not self.config["perturb_offset"]:
            offset = torch.zeros_like(offset)
        self.register_buffer("offset_perturbation", offset, persistent=False)

    def forward(
        self,
        feats: Tensor,
        coords: Tensor,
        windows: Tensor,
        slots: Tensor,
        shifted_windows: Tensor,
        shifted_slots: Tensor,
    ) -> tuple[Tensor, ...]:
        """Latents (N, 8) to xyz (N, G, 3), features_dc, scaling, rotation and opacity."""
        h = self.transform(feats, coords, ((windows, slots), (shifted_windows, shifted_slots)))
        h = linear(F.layer_norm(h, h.shape[-1:]), self.out_layer)

        def part(name: str) -> Tensor:
            begin, end = self.layout[name]["range"]
            values = h[:, begin:end].unflatten(1, self.layout[name]["shape"])
            return values * self.config["lr"][name]

        offset = torch.tanh(part("_xyz") + self.offset_perturbation)
        offset = offset / self.resolution * 0.5 * self.config["voxel_size"]
        centre = (coords.to(offset.dtype) + 0.5) / self.resolution
        others = (part(name) for name in self.layout if name != "_xyz")
        return (centre[:, None] + offset, *others)


class Subdivision(nn.Module):
    """``SparseSubdivideBlock3d``: eight voxels of each, (n, C) to (8n, O)."""

    def __init__(self, reference: nn.Module) -> None:
        super().__init__()
        if isinstance(reference.skip_connection, nn.Identity):
            raise NotImplementedError("SparseSubdivideBlock3d: out_channels equal to channels")
        self.act_layers = reference.act_layers
        first, norm, activation, second = reference.out_layers
        self.out_layers = nn.ModuleList(
            [SubmanifoldConv(first), norm, activation, SubmanifoldConv(second)]
        )
        self.skip_connection = SubmanifoldConv(reference.skip_connection)

    def forward(self, x: Tensor, neighbours: Tensor, rows_per_voxel: int) -> Tensor:
        """Features (n, C) and neighbours (n, 27), n rows for each voxel of the occupied grid."""
        first, norm, _, second = self.out_layers
        h = F.silu(group_norm(x, self.act_layers[0], rows_per_voxel))
        h = first.of_subdivided(h, neighbours)
        h = F.silu(group_norm(h, norm, 8 * rows_per_voxel))
        # A 1x1x1 convolution gives all children of a voxel the same.
        skip = self.skip_connection.pointwise(x)
        return second.after_subdivision(h, neighbours, skip)


class MeshDecoder(WindowTransformer):
    """``SLatMeshDecoder`` up to the mesh's extraction: 64 cubes to a voxel, 101 features each."""

    def __init__(self, reference: nn.Module) -> None:
        super().__init__(reference)
        self.upsample = nn.ModuleList(map(Subdivision, reference.upsample))

    def forward(
        self,
        feats: Tensor,
        coords: Tensor,
        neighbours: Tensor,
        windows: Tensor,
        slots: Tensor,
        shifted_windows: Tensor,
        shifted_slots: Tensor,
    ) -> tuple[Tensor]:
        """Latents (N, 8) to features (N, 64, 101), cubes in the order of two subdivisions."""
        h = self.transform(feats, coords, ((windows, slots), (shifted_windows, shifted_slots)))
        rows_per_voxel = 1
        for number, block in enumerate(self.upsample):
            if number:
                neighbours = fine_table(neighbours)
            h = block(h, neighbours, rows_per_voxel)
            rows_per_voxel *= 8
        features = linear(h, self.out_layer)
        return (features.reshape(-1, rows_per_voxel, features.shape[1]),)
