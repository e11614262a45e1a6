"""Construction of SAM-3D-Objects' networks from `sam3d_objects`' own classes, at any size.

The choices are those of the YAML files of the published checkpoint. Every component is built
alone: they share no parameters, and all together take 12 GB. The caller holds
`sam_tvm.patches.environment.reference_environment("sam3d")`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sam_tvm.models.construction import SkipRandomValues
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d.dino import hub_backbone
from sam_tvm.models.sam3d.latents import POSE_LATENTS
from sam_tvm.runtime.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import nn

MLP_RATIO = 4
SLAT_PATCH = 2  # the latent generator's transformer works on voxels of twice the side
# The pose's latents share one transformer beside the shape's.
POSE_TRANSFORMER = "6drotation_normalized"
GAUSSIANS: dict[str, Any] = {
    "lr": {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0, "_rotation": 0.1},
    "perturb_offset": True,
    "voxel_size": 1.5,
    "2d_filter_kernel_size": 0.1,
    "3d_filter_kernel_size": 0.0009,
    "scaling_bias": 0.004,
    "opacity_bias": 0.1,
    "scaling_activation": "softplus",
}


def build_component(name: str, config: Sam3dConfig) -> nn.Module:
    """Return the reference module of one component on the CPU, in evaluation mode, float32.

    Its parameters are without gradients and uninitialised memory: load weights before using it.
    spconv's convolutions stay in training mode, the only one in which they are right on a CPU.

    Raises:
        UnknownNameError: for a name that is not in `BUILDERS`.
    """
    if name not in BUILDERS:
        known = ", ".join(sorted(BUILDERS))
        raise UnknownNameError(f"there is no component {name!r}; known components: {known}")
    with SkipRandomValues():
        module = BUILDERS[name](config)
    module.eval().requires_grad_(False)
    for part in module.modules():
        if type(part).__module__.startswith("spconv."):
            part.train()
    return module


def _ss_condition_embedder(config: Sam3dConfig) -> nn.Module:
    """Pictures and pointmaps, of the object and of the whole, to one sequence of tokens."""
    from sam3d_objects.model.backbone.dit.embedder.pointmap import PointPatchEmbed

    pointmap = PointPatchEmbed(
        input_size=config.pointmap_size,
        patch_size=config.pointmap_patch,
        embed_dim=config.pointmap_width,
        remap_output="linear",
    )
    return _fuser(
        [*_pictures(config, prenorm=False), (pointmap, _views("pointmap", "rgb_pointmap"))],
        freeze=True,
        dropout_prob=0.1,
        drop_modalities_weight=[(["pointmap", "rgb_pointmap"], 1.0)],
    )


def _slat_condition_embedder(config: Sam3dConfig) -> nn.Module:
    return _fuser(_pictures(config, prenorm=True))


def _pictures(config: Sam3dConfig, *, prenorm: bool) -> list[tuple[nn.Module, Any]]:
    return [
        (_dino(config, prenorm), _views("image", "rgb_image")),
        (_dino(config, prenorm), _views("mask", "rgb_image_mask")),
    ]


def _views(cropped: str, full: str) -> list[tuple[str, str]]:
    """Name a modality's two inputs: cropped to the object, and the whole picture."""
    return [(cropped, "cropped"), (full, "full")]


def _dino(config: Sam3dConfig, prenorm: bool) -> nn.Module:
    from sam3d_objects.model.backbone.dit.embedder.dino import Dino

    with hub_backbone(config):
        return Dino(
            input_size=config.image_size,
            dino_model="dinov2_vitl14_reg",
            normalize_images=True,
            prenorm_features=prenorm,
        )


def _fuser(embedders: list[tuple[nn.Module, Any]], **options: Any) -> nn.Module:
    from sam3d_objects.model.backbone.dit.embedder.embedder_fuser import EmbedderFuser

    return EmbedderFuser(
        embedders,
        use_pos_embedding="learned",
        projection_net_hidden_dim_multiplier=4.0,
        **options,
    )


def _ss_generator(config: Sam3dConfig) -> nn.Module:
    from sam3d_objects.model.backbone.tdfy_dit.models import mm_latent
    from sam3d_objects.model.backbone.tdfy_dit.models.mot_sparse_structure_flow import (
        SparseStructureFlowTdfyWrapper,
    )

    width, resolution = config.ss_width, config.ss_resolution
    latents = {
        name: mm_latent.Latent(channels, width, mm_latent.LearntPositionEmbedder(width, 1))
        for name, channels in POSE_LATENTS.items()
    }
    latents["shape"] = mm_latent.Latent(
        config.latent_channels, width, mm_latent.ShapePositionEmbedder(width, resolution, 1)
    )
    return SparseStructureFlowTdfyWrapper(
        latents,
        {POSE_TRANSFORMER: list(POSE_LATENTS)},
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        model_channels=width,
        cond_channels=config.dino_width,
        num_blocks=config.ss_depth,
        num_heads=config.ss_heads,
        mlp_ratio=MLP_RATIO,
        resolution=resolution,
        patch_size=1,
        pe_mode="ape",
        qk_rms_norm=True,
        is_shortcut_model=True,
        freeze_shared_parameters=True,
        freeze_d_time_embedder=True,
        force_zeros_cond=True,
    )


def _ss_decoder(config: Sam3dConfig) -> nn.Module:
    from sam3d_objects.model.backbone.tdfy_dit.models.sparse_structure_vae import (
        SparseStructureDecoderTdfyWrapper,
    )

    return SparseStructureDecoderTdfyWrapper(
        out_channels=1,
        latent_channels=config.latent_channels,
        num_res_blocks=2,
        num_res_blocks_middle=2,
        channels=list(config.ss_decoder_channels),
        reshape_input_to_cube=False,
    )


def _slat_generator(config: Sam3dConfig) -> nn.Module:
    from sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_flow import (
        SLatFlowModelTdfyWrapper,
    )

    return SLatFlowModelTdfyWrapper(
        resolution=config.resolution,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        model_channels=config.slat_width,
        cond_channels=config.dino_width,
        num_blocks=config.slat_depth,
        num_heads=config.slat_heads,
        mlp_ratio=MLP_RATIO,
        patch_size=SLAT_PATCH,
        num_io_res_blocks=2,
        io_block_channels=[config.slat_io_width],
        pe_mode="ape",
        qk_rms_norm=True,
        force_zeros_cond=True,
    )


def _gs_decoder(config: Sam3dConfig) -> nn.Module:
    return _gaussian_decoder(config, config.num_gaussians)


def _gs_decoder_4(config: Sam3dConfig) -> nn.Module:
    return _gaussian_decoder(config, config.num_gaussians_4)


def _gaussian_decoder(config: Sam3dConfig, num_gaussians: int) -> nn.Module:
    from sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_gs import (
        SLatGaussianDecoderTdfyWrapper,
    )

    return SLatGaussianDecoderTdfyWrapper(
        **_decoder_sizes(config, config.gs_width, config.gs_depth, config.gs_heads),
        representation_config={**GAUSSIANS, "num_gaussians": num_gaussians},
    )


def _mesh_decoder(config: Sam3dConfig) -> nn.Module:
    from sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_mesh import (
        SLatMeshDecoderTdfyWrapper,
    )

    return SLatMeshDecoderTdfyWrapper(
        **_decoder_sizes(config, config.mesh_width, config.mesh_depth, config.mesh_heads),
        representation_config={"use_color": True},
        device="cpu",
    )


def _decoder_sizes(config: Sam3dConfig, width: int, depth: int, heads: int) -> dict[str, Any]:
    """Return what the decoders of structured latents share."""
    return {
        "resolution": config.resolution,
        "latent_channels": config.latent_channels,
        "model_channels": width,
        "num_blocks": depth,
        "num_heads": heads,
        "mlp_ratio": MLP_RATIO,
        "attn_mode": "swin",
        "window_size": config.window_size,
    }


BUILDERS: dict[str, Callable[[Sam3dConfig], nn.Module]] = {
    "ss_condition_embedder": _ss_condition_embedder,
    "slat_condition_embedder": _slat_condition_embedder,
    "ss_generator": _ss_generator,
    "ss_decoder": _ss_decoder,
    "slat_generator": _slat_generator,
    "gs_decoder": _gs_decoder,
    "gs_decoder_4": _gs_decoder_4,
    "mesh_decoder": _mesh_decoder,
}
