"""What the declarations of both Gaussian decoders share."""

from __future__ import annotations

import numpy as np

from sam_tvm.components.base import Case, Signature, TensorSpec
from sam_tvm.components.sam3d import voxels
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.runtime.sparse import plans

REFERENCE = (
    "sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_gs"
    ".SLatGaussianDecoderTdfyWrapper"
)


def signature(config: Sam3dConfig, gaussians: int) -> Signature:
    """Latents on N voxels to so many Gaussians each, by their attributes."""
    return Signature(
        inputs=(*voxels.latent_specs(config), *voxels.window_specs()),
        outputs=(
            TensorSpec("xyz", ("N", gaussians, 3)),
            TensorSpec("features_dc", ("N", gaussians, 1, 3)),
            TensorSpec("scaling", ("N", gaussians, 3)),
            TensorSpec("rotation", ("N", gaussians, 4)),
            TensorSpec("opacity", ("N", gaussians, 1)),
        ),
    )


def inputs(config: Sam3dConfig, case: Case, rng: np.random.Generator) -> voxels.Arrays:
    """Latents and the plans of both kinds of windows."""
    latents = voxels.latents(config, case, rng)
    return {**latents, **plans.windows(latents["coords"], config.window_size)}
