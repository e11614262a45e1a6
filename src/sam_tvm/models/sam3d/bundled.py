"""What the runtime is told of SAM-3D-Objects: sizes, the checkpoint's settings, constants."""

from __future__ import annotations

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d.build import GAUSSIANS
from sam_tvm.models.sam3d.latents import POSE_LATENTS
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.runtime.reconstruction.settings import (
    GaussianSettings,
    PreprocessSettings,
    ReconstructionSettings,
    SamplerSettings,
)

TIME_SCALE = 1000.0  # of both generators


def reconstruction_settings(config: Sam3dConfig, run: RunSettings) -> ReconstructionSettings:
    """Settings for a bundle of the model at `config`, to be run as `run` says.

    The constants are those that `documents` and `generator_documents` expect of a checkpoint.
    """
    tokens = config.ss_resolution**3
    pose = {name: (1, 1, channels) for name, channels in POSE_LATENTS.items()}
    return ReconstructionSettings(
        preprocess=PreprocessSettings(config.image_size, box_size_factor=1.2, padding_factor=0.0),
        structure=SamplerSettings(
            steps=run.ss_inference_steps,
            rescale_t=run.ss_rescale_t,
            guidance=run.ss_cfg_strength,
            interval=run.ss_cfg_interval,
            time_scale=TIME_SCALE,
            takes_step=True,
        ),
        structure_shapes={**pose, "shape": (1, tokens, config.latent_channels)},
        latents=SamplerSettings(
            steps=run.slat_inference_steps,
            rescale_t=run.slat_rescale_t,
            guidance=run.slat_cfg_strength,
            interval=run.slat_cfg_interval,
            time_scale=TIME_SCALE,
            takes_step=False,
        ),
        latent_mean=run.slat_mean,
        latent_std=run.slat_std,
        resolution=config.resolution,
        prune_distance=run.downsample_ss_dist,
        window=config.window_size,
        gaussians={
            "gs_decoder": _gaussians(),
            "gs_decoder_4": _gaussians(),
        },
    )


def _gaussians() -> GaussianSettings:
    return GaussianSettings(
        scaling_bias=GAUSSIANS["scaling_bias"],
        opacity_bias=GAUSSIANS["opacity_bias"],
        least_scale=GAUSSIANS["3d_filter_kernel_size"],
    )
