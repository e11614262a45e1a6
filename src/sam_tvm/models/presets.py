"""Named model sizes: `tiny`, the real classes scaled down, and `full`, the published model.

Nothing here imports torch or TVM, so that every part of the package may read a preset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
class Sam3dConfig:
    """Sizes of SAM-3D-Objects' networks; every other choice is that of its published checkpoint.

    Sizes of pictures are in pixels, of latents and windows in voxels.
    """

    # Condition embedders. Both take square pictures; the pointmap is sampled down first.
    image_size: int
    dino_patch: int
    dino_width: int  # also the width of the condition tokens
    dino_depth: int
    dino_heads: int
    dino_registers: int
    pointmap_size: int
    pointmap_patch: int
    pointmap_width: int  # a multiple of 16, the number of its heads

    # Sparse structure: the generator's latent cube and the decoder to an occupancy grid.
    ss_resolution: int
    ss_width: int
    ss_depth: int
    ss_heads: int
    ss_decoder_channels: tuple[int, ...]  # each after the first doubles the resolution

    # Structured latents: a generator on occupied voxels.
    slat_width: int
    slat_depth: int
    slat_heads: int
    slat_io_width: int

    # Decoders of the structured latents, to Gaussians and to a mesh.
    window_size: int
    gs_width: int
    gs_depth: int
    gs_heads: int
    num_gaussians: int  # of each voxel
    num_gaussians_4: int  # of each voxel, by the second Gaussian decoder
    mesh_width: int  # a multiple of 256: its eighth is normalised in 32 groups
    mesh_depth: int
    mesh_heads: int

    latent_channels: int = 8  # of both latents

    @property
    def dino_patches(self) -> int:
        """Patches of one picture."""
        return (self.image_size // self.dino_patch) ** 2

    @property
    def pointmap_tokens(self) -> int:
        """Tokens of one pointmap."""
        return (self.pointmap_size // self.pointmap_patch) ** 2

    @property
    def ss_condition_tokens(self) -> int:
        """Condition tokens of the structure generator: four pictures and two pointmaps."""
        return 4 * (1 + self.dino_patches) + 2 * self.pointmap_tokens

    @property
    def slat_condition_tokens(self) -> int:
        """Condition tokens of the latent generator: four pictures, registers included."""
        return 4 * (1 + self.dino_registers + self.dino_patches)

    @property
    def resolution(self) -> int:
        """Side of the occupancy grid, and of the grid that structured latents lie on."""
        return self.ss_resolution * 2 ** (len(self.ss_decoder_channels) - 1)


@dataclass(frozen=True)
class Preset:
    """A name and the configuration of each model under that name.

    Attributes:
        sam3_weights: name of a file of weights that fit `sam3` and come with the package, which
            are used unless others are asked for; None: there are none.
    """

    name: str
    sam3: Sam3Config
    sam3d: Sam3dConfig
    sam3_weights: str | None = None

    def shipped_weights(self, model: str) -> Path | None:
        """The file of weights of `model` that comes with the package, if there is one."""
        if model != "sam3" or self.sam3_weights is None:
            return None
        return SHIPPED_WEIGHTS / self.sam3_weights


# Files of weights that come with the package, each with a card of what it is.
SHIPPED_WEIGHTS = Path(__file__).parent.parent / "weights"


# Small enough that it can be trained on a CPU, which `sam_tvm.training` does, and that the whole
# port takes minutes; with every kind of block present: windowed and global attention, windows that
# need padding (16 tokens in windows of 6), positions that are tiled (14 tokens a tile).
TINY_SAM3 = Sam3Config(
    image_size=128,
    patch_size=8,
    pretrain_image_size=112,
    vision_width=128,
    vision_depth=6,
    vision_heads=4,
    vision_mlp_ratio=4.0,
    window_size=6,
    global_blocks=(1, 3, 5),
    d_model=64,
    heads=4,
    dim_feedforward=256,
    fusion_layers=2,
    decoder_layers=3,
    geometry_layers=1,
    num_queries=32,
    text_width=64,
    text_heads=4,
    text_layers=2,
)

TINY = Preset(
    name="tiny",
    sam3=TINY_SAM3,
    sam3_weights="sam3-tiny.safetensors",
    sam3d=Sam3dConfig(
        image_size=112,
        dino_patch=14,
        dino_width=64,
        dino_depth=2,
        dino_heads=2,
        dino_registers=4,
        pointmap_size=64,
        pointmap_patch=8,
        pointmap_width=64,
        ss_resolution=8,
        ss_width=64,
        ss_depth=2,
        ss_heads=2,
        ss_decoder_channels=(32, 16, 8),
        slat_width=64,
        slat_depth=2,
        slat_heads=2,
        slat_io_width=32,
        window_size=4,
        gs_width=64,
        gs_depth=4,
        gs_heads=2,
        num_gaussians=8,
        num_gaussians_4=4,
        mesh_width=256,
        mesh_depth=2,
        mesh_heads=4,
    ),
)

# The sizes of sam3.model_builder.build_sam3_image_model and of the published
# sam-3d-objects checkpoint.
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
    sam3d=Sam3dConfig(
        image_size=518,
        dino_patch=14,
        dino_width=1024,
        dino_depth=24,
        dino_heads=16,
        dino_registers=4,
        pointmap_size=256,
        pointmap_patch=8,
        pointmap_width=512,
        ss_resolution=16,
        ss_width=1024,
        ss_depth=24,
        ss_heads=16,
        ss_decoder_channels=(512, 128, 32),
        slat_width=1024,
        slat_depth=24,
        slat_heads=16,
        slat_io_width=128,
        window_size=8,
        gs_width=768,
        gs_depth=12,
        gs_heads=12,
        num_gaussians=32,
        num_gaussians_4=4,
        mesh_width=768,
        mesh_depth=12,
        mesh_heads=12,
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
