"""DINOv2 with registers, built from timm's layers under the names of the reference's weights.

`Dino` (sam3d_objects/model/backbone/dit/embedder/dino.py) fetches the code of its backbone from
GitHub by `torch.hub`. The architecture is that of timm's `vit_large_patch14_reg4_dinov2`; timm
stores the weights a little differently (`checkpoint_filter_fn` in timm/models/vision_transformer
converts them), so the layers are composed here as torch.hub's `dinov2_vitl14_reg` names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.patches.attributes import replaced


class DinoBackbone(nn.Module):
    """The vision transformer of `dinov2_vit*14_reg` for pictures of the size it was trained with.

    The caller holds `reference_environment("sam3d")`: timm imports torchvision.
    """

    def __init__(self, config: Sam3dConfig) -> None:
        from timm.layers import PatchEmbed
        from timm.models.vision_transformer import Block

        super().__init__()
        self.embed_dim = width = config.dino_width
        self.patch_embed = PatchEmbed(config.image_size, config.dino_patch, 3, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.dino_patches, width))
        self.register_tokens = nn.Parameter(torch.empty(1, config.dino_registers, width))
        self.mask_token = nn.Parameter(torch.empty(1, width))  # for training; among the weights
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(width, config.dino_heads, qkv_bias=True, init_values=1.0, norm_layer=norm)
            for _ in range(config.dino_depth)
        )
        self.norm = norm(width)

    def forward_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the last block's tokens, normalised and as they are.

        `images` is (B, 3, image_size, image_size), normalised. The tokens (B, n, width) are the
        class token, the registers and the patches, in that order.
        """
        count = images.shape[0]
        tokens = torch.cat([self.cls_token.expand(count, -1, -1), self.patch_embed(images)], dim=1)
        tokens = tokens + self.pos_embed
        registers = self.register_tokens.expand(count, -1, -1)
        tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        normalised = self.norm(tokens)
        return {
            "x_prenorm": tokens,
            "x_norm_clstoken": normalised[:, 0],
            "x_norm_patchtokens": normalised[:, 1 + registers.shape[1] :],
        }


@contextmanager
def hub_backbone(config: Sam3dConfig) -> Iterator[None]:
    """Answer `torch.hub.load`, by which `Dino` gets its backbone, with a `DinoBackbone`."""
    with replaced(torch.hub, "load", lambda *args, **kwargs: DinoBackbone(config)):
        yield
