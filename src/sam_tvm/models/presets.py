"""Named model sizes: `tiny`, the real classes scaled down, and `full`, the published model.

Nothing here imports torch or TVM, so that every part of the package may read a preset.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.runtime.errors import UnknownNameError


@dataclass(frozen=True)
class Sam3Config:
    """Sizes of SAM3's image model; every other choice is that of `build_sam3_image_model`."""

    # Vision backbone (`vitdet.ViT`). Sizes of pictures in pixels, of windows in tokens.
    image_size: int
    patch_size: int
    pretrain_image_size: int  # side of the tile that the absolute position embedding covers
    vision_width: int
    vision_depth: int
    vision_heads: int
    vision_mlp_ratio: float
    window_size: int
    global_blocks: tuple[int, ...]  # blocks that attend globally; the others within windows

    # Fusion encoder, decoder, geometry encoder and heads share their width.
    d_model: int
    heads: int
    dim_feedforward: int
    fusion_layers: int
    decoder_layers: int
    geometry_layers: int
    num_queries: int

    # Text encoder (`text_encoder_ve.VETextEncoder`).
    text_width: int
    text_heads: int
    text_layers: int
    context_length: int = 32
    vocab_size: int = 49408

    @property
    def grid_size(self) -> int:
        """Image tokens along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Image tokens of one picture."""
        return self.grid_size**2

    @property
    def mask_size(self) -> int:
        """Side of a predicted mask in pixels: that of the finest feature level."""
        return 4 * self.grid_size


@dataclass(frozen=True)
class Preset:
    """A name and the configuration of each model under that name."""

    name: str
    sam3: Sam3Config


# Small enough that the whole port takes minutes, with every kind of block present: windowed and
# global attention, windows that need padding (16 tokens in windows of 6), tiled positions.
TINY = Preset(
    name="tiny",
    sam3=Sam3Config(
        image_size=224,
        patch_size=14,
        pretrain_image_size=112,
        vision_width=128,
        vision_depth=4,
        vision_heads=4,
        vision_mlp_ratio=4.0,
        window_size=6,
        global_blocks=(1, 3),
        d_model=64,
        heads=8,
        dim_feedforward=256,
        fusion_layers=2,
        decoder_layers=3,
        geometry_layers=2,
        num_queries=32,
        text_width=64,
        text_heads=4,
        text_layers=2,
    ),
)

# The sizes of sam3.model_builder.build_sam3_image_model.
FULL = Preset(
    name="full",
    sam3=Sam3Config(
        image_size=1008,
        patch_size=14,
        pretrain_image_size=336,
        vision_width=1024,
        vision_depth=32,
        vision_heads=16,
        vision_mlp_ratio=4.625,
        window_size=24,
        global_blocks=(7, 15, 23, 31),
        d_model=256,
        heads=8,
        dim_feedforward=2048,
        fusion_layers=6,
        decoder_layers=6,
        geometry_layers=3,
        num_queries=200,
        text_width=1024,
        text_heads=16,
        text_layers=24,
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (TINY, FULL)}


def get_preset(name: str) -> Preset:
    """Return the preset `name`; raise `UnknownNameError`, which lists the known ones, if none."""
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise UnknownNameError(f"there is no preset {name!r}; known presets: {known}") from None
