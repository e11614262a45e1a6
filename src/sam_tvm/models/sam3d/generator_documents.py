"""What the files of the two generators, with their condition embedders, say (see `known`)."""

from __future__ import annotations

from typing import Any

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import build
from sam_tvm.models.sam3d.known import ANY, Document, Optional
from sam_tvm.models.sam3d.latents import POSE_LATENTS

MODELS = "sam3d_objects.model.backbone.tdfy_dit.models"
EMBEDDERS = "sam3d_objects.model.backbone.dit.embedder"
GENERATOR = "sam3d_objects.model.backbone.generator"


def _views(cropped: str, full: str) -> list[list[str]]:
    return [[cropped, "cropped"], [full, "full"]]


def _dino(config: Sam3dConfig, prenorm: Any) -> Document:
    return {
        "_target_": f"{EMBEDDERS}.dino.Dino",
        "dino_model": "dinov2_vitl14_reg",
        "input_size": config.image_size,
        "normalize_images": Optional(True),
        "prenorm_features": prenorm,
        "prune_network": Optional(False),
        "repo_or_dir": ANY,  # where its code comes from, which is not used here
        "source": ANY,
        "freeze_backbone": ANY,
    }


def _embedder(embedders: list[Any]) -> Document:
    return {
        "backbone": {
            "_target_": f"{EMBEDDERS}.embedder_fuser.EmbedderFuser",
            "embedder_list": embedders,
            "projection_net_hidden_dim_multiplier": Optional(4.0),
            "projection_pre_norm": Optional(True),
            "compression_projection_multiplier": Optional(0),
            "use_pos_embedding": Optional("learned"),
            "force_drop_modalities": Optional(None),
            "drop_modalities_weight": ANY,
            "dropout_prob": ANY,
            "freeze": ANY,
        }
    }


def _pictures(config: Sam3dConfig, prenorm: Any) -> list[Any]:
    return [
        [_dino(config, prenorm), _views("image", "rgb_image")],
        [_dino(config, prenorm), _views("mask", "rgb_image_mask")],
    ]


def _sampler(name: str, guidance: str, backbone: Document) -> Document:
    """A generator around its network; how it samples is overridden by ``pipeline.yaml``."""
    training = (
        "inference_steps", "rescale_t", "loss_weights", "loss_fn", "training_time_sampler_fn",
        "seed_or_generator",
    )  # fmt: skip
    return {
        "backbone": {
            "_target_": f"{GENERATOR}.{name}",
            **dict.fromkeys(training, ANY),
            "sigma_min": Optional(0.0),
            "time_scale": Optional(1000.0),
            "reversed_timestamp": Optional(False),
            "solver_method": Optional("euler"),
            "solver_kwargs": Optional({}),
            "reverse_fn": {
                "_target_": f"{GENERATOR}.classifier_free_guidance.{guidance}",
                "backbone": backbone,
                "interval": ANY,
                "strength": ANY,
                "p_unconditional": ANY,
                "unconditional_handling": "add_flag",
            },
        }
    }


def _flow(config: Sam3dConfig, width: int, depth: int, heads: int) -> Document:
    """What both flow networks have in common."""
    return {
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "model_channels": width,
        "cond_channels": config.dino_width,
        "num_blocks": depth,
        "num_heads": heads,
        "mlp_ratio": Optional(build.MLP_RATIO),
        "pe_mode": Optional("ape"),
        "qk_rms_norm": True,
        "qk_rms_norm_cross": Optional(False),
        "share_mod": Optional(False),
        "condition_embedder": Optional(None),
        "force_zeros_cond": True,
        "use_checkpoint": ANY,
        "use_fp16": ANY,  # the precision is chosen here
    }


def _latent(channels: int, width: int, positions: Document) -> Document:
    return {
        "_target_": f"{MODELS}.mm_latent.Latent",
        "in_channels": channels,
        "model_channels": width,
        "pos_embedder": {"model_channels": width, **positions},
    }


def _latents(config: Sam3dConfig) -> Document:
    learnt = {"_target_": f"{MODELS}.mm_latent.LearntPositionEmbedder", "token_len": 1}
    shape = {
        "_target_": f"{MODELS}.mm_latent.ShapePositionEmbedder",
        "resolution": config.ss_resolution,
        "patch_size": 1,
    }
    width = config.ss_width
    pose = {name: _latent(channels, width, learnt) for name, channels in POSE_LATENTS.items()}
    return {**pose, "shape": _latent(config.latent_channels, width, shape)}


def ss_generator(config: Sam3dConfig) -> Document:
    """The file of the structure generator, with its condition embedder."""
    pointmap = {
        "_target_": f"{EMBEDDERS}.pointmap.PointPatchEmbed",
        "embed_dim": config.pointmap_width,
        "input_size": config.pointmap_size,
        "patch_size": config.pointmap_patch,
        "remap_output": "linear",
        "dropout_prob": ANY,
        "force_dropout_always": Optional(False),
    }
    embedders = [
        *_pictures(config, Optional(False)),
        [pointmap, _views("pointmap", "rgb_pointmap")],
    ]
    network = {
        "_target_": f"{MODELS}.mot_sparse_structure_flow.SparseStructureFlowTdfyWrapper",
        **_flow(config, config.ss_width, config.ss_depth, config.ss_heads),
        "latent_mapping": _latents(config),
        "latent_share_transformer": {build.POSE_TRANSFORMER: list(POSE_LATENTS)},
        "is_shortcut_model": True,
        "resolution": config.ss_resolution,
        "patch_size": 1,
        "freeze_shared_parameters": ANY,
        "freeze_d_time_embedder": ANY,
        "shape_attend_pose": ANY,  # read by nothing
    }
    guidance = "ClassifierFreeGuidanceWithExternalUnconditionalProbability"
    generator = _sampler("shortcut.model.ShortCut", guidance, network)
    training = (
        "self_consistency_prob", "shortcut_loss_weight", "self_consistency_cfg_strength",
        "ratio_cfg_samples_in_self_consistency_target", "fm_in_shortcut_target_prob", "fm_eps_max",
        "batch_mode", "cfg_modalities", "no_shortcut",
    )  # fmt: skip
    generator["backbone"].update(dict.fromkeys(training, ANY))
    generator["backbone"]["reverse_fn"]["use_unconditional_from_flow_matching"] = ANY
    return {"module": {"condition_embedder": _embedder(embedders), "generator": generator}}


def slat_generator(config: Sam3dConfig) -> Document:
    """The file of the latent generator, with its condition embedder."""
    network = {
        "_target_": f"{MODELS}.structured_latent_flow.SLatFlowModelTdfyWrapper",
        **_flow(config, config.slat_width, config.slat_depth, config.slat_heads),
        "resolution": config.resolution,
        "patch_size": Optional(build.SLAT_PATCH),
        "num_io_res_blocks": Optional(2),
        "io_block_channels": [config.slat_io_width],
        "use_skip_connection": Optional(True),
        "is_shortcut_model": Optional(False),
    }
    return {
        "module": {
            "condition_embedder": _embedder(_pictures(config, True)),
            "generator": _sampler(
                "flow_matching.model.FlowMatching", "ClassifierFreeGuidance", network
            ),
        }
    }
