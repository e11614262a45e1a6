"""The decoder of structured latents to the features that a mesh is extracted from."""

from __future__ import annotations

import numpy as np
from torch import nn

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.components.sam3d import voxels
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import sparse_calls
from sam_tvm.models.sam3d.sparse import Named
from sam_tvm.models.sam3d.sparse.decoders import MeshDecoder
from sam_tvm.runtime.sparse import plans

CUBES = 64  # of each voxel, after two subdivisions
# Of each cube, for FlexiCubes: 8 signed distances, 8x3 deformations, 21 weights, 8x6 colours.
FEATURES = 101


def signature(config: Sam3dConfig) -> Signature:
    """Latents on N voxels to features of 64 cubes each."""
    return Signature(
        inputs=(
            *voxels.latent_specs(config),
            TensorSpec("neighbours", ("N", 27), "int32"),
            *voxels.window_specs(),
        ),
        outputs=(TensorSpec("features", ("N", CUBES, FEATURES)),),
    )


def inputs(config: Sam3dConfig, case: Case, rng: np.random.Generator) -> voxels.Arrays:
    """Latents and the plans of convolutions and of both kinds of windows."""
    latents = voxels.latents(config, case, rng)
    coords = latents["coords"]
    return {
        **latents,
        **plans.neighbours(coords, config.resolution),
        **plans.windows(coords, config.window_size),
    }


def tensor_only(model: nn.Module) -> nn.Module:
    """The decoder on tensors alone, with the parameters of `model`'s."""
    return Named("mesh_decoder", MeshDecoder(model.mesh_decoder))


COMPONENT = Component(
    name="mesh_decoder",
    model="sam3d",
    reference=(
        "sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_mesh"
        ".SLatMeshDecoderTdfyWrapper"
    ),
    modules=("mesh_decoder",),
    call=sparse_calls.mesh_decoder,
    signature=signature,
    cases=voxels.CASES,
    tensor_only=tensor_only,
    inputs=inputs,
)
