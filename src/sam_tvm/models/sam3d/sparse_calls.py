"""How SAM-3D's pipeline calls its sparse modules, as functions of (model, tensors).

As in `sam_tvm.models.sam3.calls` there is no arithmetic: voxels become the reference's
``SparseTensor`` on spconv, and outputs come out of objects. The plans are for the modules of
`sam_tvm.models.sam3d.sparse` and are ignored here.

spconv's CPU kernels are right only in a process that OpenMP gives one thread
(``OMP_NUM_THREADS=1``), and its modules only in train mode.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def _with_batch(coords: Tensor) -> Tensor:
    """(N, 3) to (N, 4), as the reference numbers the objects of a batch in front."""
    return torch.cat([coords.new_zeros(len(coords), 1), coords], 1).int().contiguous()


def _sparse(feats: Tensor, coords: Tensor) -> Any:
    from sam3d_objects.model.backbone.tdfy_dit.modules.sparse import SparseTensor

    return SparseTensor(feats, _with_batch(coords))


def _in_convolution_mode(module: nn.Module) -> nn.Module:
    """The module with its convolutions in train mode: spconv's inference path needs a GPU."""
    for part in module.modules():
        if type(part).__module__.startswith("spconv"):
            part.train()
    return module


def slat_generator(
    model: nn.Module, feats: Tensor, coords: Tensor, t: Tensor, cond: Tensor, *plan: Tensor
) -> tuple[Tensor]:
    """``InferencePipeline.sample_slat``'s call of the denoiser, at one step of the solver."""
    generator = _in_convolution_mode(model.slat_generator)
    return (generator(feats[None], t, cond, _with_batch(coords).numpy())[0],)


def _gaussians(decoder: nn.Module, feats: Tensor, coords: Tensor) -> tuple[Tensor, ...]:
    (gaussians,) = decoder(_sparse(feats, coords))
    attributes = (getattr(gaussians, name) for name in decoder.layout)
    return tuple(attribute.unflatten(0, (len(feats), -1)) for attribute in attributes)


def gs_decoder(
    model: nn.Module, feats: Tensor, coords: Tensor, *plan: Tensor
) -> tuple[Tensor, ...]:
    """``InferencePipeline.decode_slat``'s call of the decoder to 32 Gaussians a voxel."""
    return _gaussians(model.gs_decoder, feats, coords)


def gs_decoder_4(
    model: nn.Module, feats: Tensor, coords: Tensor, *plan: Tensor
) -> tuple[Tensor, ...]:
    """The same of the decoder to 4 Gaussians a voxel."""
    return _gaussians(model.gs_decoder_4, feats, coords)


def mesh_decoder(model: nn.Module, feats: Tensor, coords: Tensor, *plan: Tensor) -> tuple[Tensor]:
    """``InferencePipeline.decode_slat``'s call of the mesh decoder, up to the extraction.

    The features of the cubes, 64 to a voxel, are what the decoder hands to its extractor.
    """
    decoder = _in_convolution_mode(model.mesh_decoder)
    decoder.to_representation = lambda cubes: cubes.feats
    try:
        features = decoder(_sparse(feats, coords))
    finally:
        del decoder.to_representation
    return (features.unflatten(0, (len(feats), -1)),)
