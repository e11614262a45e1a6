"""The denoiser of structured latents on the occupied voxels."""

from __future__ import annotations

import numpy as np
from torch import nn

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.components.sam3d import voxels
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import sparse_calls
from sam_tvm.models.sam3d.sparse import Named
from sam_tvm.models.sam3d.sparse.slat_flow import SlatFlow
from sam_tvm.runtime.sparse import plans

LARGEST_TIME = 1000  # the solver's time runs from 0 to 1, the network's to this


def signature(config: Sam3dConfig) -> Signature:
    """Latents on N voxels, M of twice the side, at one time under a condition, to their flow."""
    condition = (1, config.slat_condition_tokens, config.dino_width)
    return Signature(
        inputs=(
            *voxels.latent_specs(config),
            TensorSpec("t", (1,)),
            TensorSpec("cond", condition),
            TensorSpec("coarse_coords", ("M", 3), "int32"),
            TensorSpec("neighbours", ("N", 27), "int32"),
            TensorSpec("coarse_neighbours", ("M", 27), "int32"),
            TensorSpec("parent", ("N",), "int32"),
            TensorSpec("children", ("M", 8), "int32"),
        ),
        outputs=(TensorSpec("flow", ("N", config.latent_channels)),),
    )


def inputs(config: Sam3dConfig, case: Case, rng: np.random.Generator) -> voxels.Arrays:
    """Noisy latents at a time between noise and data."""
    latents = voxels.latents(config, case, rng)
    condition = (1, config.slat_condition_tokens, config.dino_width)
    return {
        **latents,
        "t": rng.uniform(0, LARGEST_TIME, 1).astype(np.float32),
        "cond": rng.standard_normal(condition, dtype=np.float32),
        **plans.grids(latents["coords"], config.resolution),
    }


def tensor_only(model: nn.Module) -> nn.Module:
    """The generator on tensors alone, with the parameters of `model`'s."""
    return Named("slat_generator", SlatFlow(model.slat_generator))


COMPONENT = Component(
    name="slat_generator",
    model="sam3d",
    reference=(
        "sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_flow.SLatFlowModelTdfyWrapper"
    ),
    modules=("slat_generator",),
    call=sparse_calls.slat_generator,
    signature=signature,
    cases=voxels.CASES,
    tensor_only=tensor_only,
    inputs=inputs,
)
