"""The declaration of a decoder of structured latents to Gaussians: there are two."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.components.sam3d import voxels
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d.sparse import Named
from sam_tvm.models.sam3d.sparse.decoders import GaussianDecoder
from sam_tvm.runtime.sparse import plans

REFERENCE = (
    "sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_gs"
    ".SLatGaussianDecoderTdfyWrapper"
)


def declare(name: str, call: Callable[..., Any], number: str) -> Component:
    """The component of one of the decoders.

    Args:
        name: of the component, and of the decoder in the model.
        call: the reference's.
        number: the field of the configuration that says how many Gaussians a voxel gets.
    """
    return Component(
        name=name,
        model="sam3d",
        reference=REFERENCE,
        modules=(name,),
        call=call,
        signature=partial(signature, number),
        cases=voxels.CASES,
        tensor_only=partial(tensor_only, name),
        inputs=inputs,
    )


def tensor_only(name: str, model: nn.Module) -> nn.Module:
    """The decoder on tensors alone, with the parameters of `model`'s."""
    return Named(name, GaussianDecoder(getattr(model, name)))


def signature(number: str, config: Sam3dConfig) -> Signature:
    """Latents on N voxels to Gaussians, by their attributes."""
    gaussians = getattr(config, number)
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
