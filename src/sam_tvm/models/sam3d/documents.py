"""What a checkpoint folder's ``pipeline.yaml`` and its decoders' files say (see `known`)."""

from __future__ import annotations

from typing import Any

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import build
from sam_tvm.models.sam3d.known import ANY, FILE, SETTING, Document, Optional
from sam_tvm.models.sam3d.settings import NAMES

PACKAGE = "sam3d_objects"
MODELS = f"{PACKAGE}.model.backbone.tdfy_dit.models"
TRANSFORMS = f"{PACKAGE}.data.dataset.tdfy"


def pipeline(config: Sam3dConfig) -> Document:
    """``pipeline.yaml``."""
    parts = ("ss_generator", "slat_generator", "ss_decoder")
    parts += ("slat_decoder_gs", "slat_decoder_gs_4", "slat_decoder_mesh")
    files = {f"{part}_{kind}_path": FILE for part in parts for kind in ("config", "ckpt")}
    unused = (
        "ss_encoder_config_path", "ss_encoder_ckpt_path", "pad_size", "version", "workspace_dir",
        "dtype", "shape_model_dtype", "device", "compile_model", "decode_formats",
        "rendering_engine", "depth_model", "layout_post_optimization_method",
        "layout_post_optimization_method_GS",
    )  # fmt: skip
    return {
        "_target_": f"{PACKAGE}.pipeline.inference_pipeline_pointmap.InferencePipelinePointMap",
        **files,
        **dict.fromkeys(unused, ANY),
        **dict.fromkeys(NAMES, SETTING),
        "ss_condition_input_mapping": [],
        "slat_condition_input_mapping": [],
        "pose_decoder_name": "ScaleShiftInvariant",
        "clip_pointmap_beyond_scale": Optional(None),
        "ss_preprocessor": _ss_preprocessor(config),
        "slat_preprocessor": _slat_preprocessor(config),
    }


def _transform(name: str, **options: Any) -> Document:
    return {"_target_": f"{TRANSFORMS}.{name}", "_partial_": True, **options}


def _crop() -> Document:
    name = "img_and_mask_transforms.crop_around_mask_with_padding"
    return _transform(name, box_size_factor=1.2, padding_factor=0.0)


def _square(size: int, **options: Any) -> Document:
    """A picture padded to a square and resized."""
    return {
        "_target_": "torchvision.transforms.Compose",
        "transforms": [
            _transform("img_processing.pad_to_square_centered"),
            {"_target_": "torchvision.transforms.Resize", "size": size, **options},
        ],
    }


def _slat_preprocessor(config: Sam3dConfig) -> Document:
    return {
        "_target_": f"{TRANSFORMS}.preprocessor.PreProcessor",
        "img_transform": _square(config.image_size),
        "mask_transform": _square(config.image_size, interpolation=0),
        "img_mask_joint_transform": [_crop()],
    }


def _ss_preprocessor(config: Sam3dConfig) -> Document:
    resize = _transform("img_and_mask_transforms.resize_all_to_same_size")
    return {
        **_slat_preprocessor(config),
        "img_mask_joint_transform": [],
        "img_mask_pointmap_joint_transform": [resize, _crop()],
        "pointmap_transform": _square(config.image_size, interpolation=0),
        "normalize_pointmap": True,
        "pointmap_normalizer": {
            "_target_": f"{TRANSFORMS}.img_and_mask_transforms.ObjectCentricSSI",
            "allow_scale_and_shift_override": True,
            "use_scene_scale": True,
        },
    }


def ss_decoder(config: Sam3dConfig) -> Document:
    """The file of the structure decoder."""
    return {
        "_target_": f"{MODELS}.sparse_structure_vae.SparseStructureDecoderTdfyWrapper",
        "out_channels": 1,
        "latent_channels": config.latent_channels,
        "num_res_blocks": 2,
        "num_res_blocks_middle": Optional(2),
        "channels": list(config.ss_decoder_channels),
        "norm_type": Optional("layer"),
        "reshape_input_to_cube": Optional(False),
        "use_fp16": ANY,
        "pretrained_ckpt_path": ANY,
    }


def _latent_decoder(config: Sam3dConfig, width: int, depth: int, heads: int) -> Document:
    return {
        "resolution": config.resolution,
        "model_channels": width,
        "latent_channels": config.latent_channels,
        "num_blocks": depth,
        "num_heads": heads,
        "mlp_ratio": Optional(build.MLP_RATIO),
        "attn_mode": Optional("swin"),
        "window_size": config.window_size,
        "pe_mode": Optional("ape"),
        "qk_rms_norm": Optional(False),
        "use_checkpoint": ANY,
        "use_fp16": ANY,
    }


def _gs_decoder(config: Sam3dConfig, num_gaussians: int) -> Document:
    representation = {**build.GAUSSIANS, "num_gaussians": num_gaussians}
    representation["2d_filter_kernel_size"] = ANY  # of renderers
    return {
        "_target_": f"{MODELS}.structured_latent_vae.decoder_gs.SLatGaussianDecoderTdfyWrapper",
        **_latent_decoder(config, config.gs_width, config.gs_depth, config.gs_heads),
        "representation_config": representation,
    }


def slat_decoder_gs(config: Sam3dConfig) -> Document:
    """The file of the Gaussian decoder."""
    return _gs_decoder(config, config.num_gaussians)


def slat_decoder_gs_4(config: Sam3dConfig) -> Document:
    """The file of the second Gaussian decoder."""
    return _gs_decoder(config, config.num_gaussians_4)


def slat_decoder_mesh(config: Sam3dConfig) -> Document:
    """The file of the mesh decoder."""
    return {
        "_target_": f"{MODELS}.structured_latent_vae.decoder_mesh.SLatMeshDecoderTdfyWrapper",
        **_latent_decoder(config, config.mesh_width, config.mesh_depth, config.mesh_heads),
        "representation_config": {"use_color": True},
        "device": ANY,
    }
