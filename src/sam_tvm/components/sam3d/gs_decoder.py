"""The decoder of structured latents to Gaussians."""

from __future__ import annotations

from torch import nn

from sam_tvm.components.base import Component, Signature
from sam_tvm.components.sam3d import gaussian_decoder, voxels
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import sparse_calls
from sam_tvm.models.sam3d.sparse import Named
from sam_tvm.models.sam3d.sparse.decoders import GaussianDecoder


def signature(config: Sam3dConfig) -> Signature:
    """Latents on N voxels to Gaussians."""
    return gaussian_decoder.signature(config, config.num_gaussians)


def tensor_only(model: nn.Module) -> nn.Module:
    """The decoder on tensors alone, with the parameters of `model`'s."""
    return Named("gs_decoder", GaussianDecoder(model.gs_decoder))


COMPONENT = Component(
    name="gs_decoder",
    model="sam3d",
    reference=gaussian_decoder.REFERENCE,
    modules=("gs_decoder",),
    call=sparse_calls.gs_decoder,
    signature=signature,
    cases=voxels.CASES,
    tensor_only=tensor_only,
    inputs=gaussian_decoder.inputs,
)
