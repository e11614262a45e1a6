"""Weights by model: the reference's modules with them, and what identifies them.

SAM3 is one model, whose components are parts of it. SAM-3D-Objects' components are networks of
their own, which share nothing and take 12 GB together: each is built alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sam_tvm.models.presets import Preset
from sam_tvm.models.source import WeightsInfo, WeightsSource, file_sha256

if TYPE_CHECKING:
    from torch import nn

# Returns for a component's name the module that its `call` takes, and what its weights are.
Loader = Callable[[str], "tuple[nn.Module, WeightsInfo]"]


def loader(model: str, preset: Preset, source: WeightsSource) -> Loader:
    """What builds the reference's modules of `model` with weights from `source`.

    The caller holds `reference_environment(model)`. SAM3 is built once, and given out for each of
    its components; it is the caller's to prune. It and SAM-3D-Objects' networks are on the CPU,
    float32, in evaluation mode and without gradients.

    Raises (when a component is asked for):
        CheckpointError: the checkpoint cannot be used, or does not fit the preset.
    """
    return _LOADERS[model](preset, source)


def identity(model: str, preset: Preset, source: WeightsSource) -> str:
    """A string that changes when the weights would, without building anything.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    if model == "sam3":
        from sam_tvm.models.sam3.weights import weights_identity

        return weights_identity(source.checkpoint, source.seed)
    from sam_tvm.models.sam3d.weights import weights_identity as identity_3d

    return identity_3d(preset, source.checkpoint, source.seed)


def checkpoint_sha256(model: str, preset: Preset, checkpoint: Path) -> str:
    """The SHA-256 that `WeightsInfo` has of a checkpoint.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    if model == "sam3":
        return file_sha256(checkpoint)
    from sam_tvm.models.sam3d.weights import weights_info

    return weights_info(preset, checkpoint).sha256


def _sam3(preset: Preset, source: WeightsSource) -> Loader:
    from sam_tvm.models.sam3.weights import load_model

    whole = cache(lambda: load_model(preset, source.checkpoint, source.seed))
    return lambda component: whole()


def _sam3d(preset: Preset, source: WeightsSource) -> Loader:
    from sam_tvm.models.sam3d.weights import load_component

    return lambda component: load_component(component, preset, source.checkpoint, source.seed)


_LOADERS: dict[str, Callable[[Preset, WeightsSource], Loader]] = {"sam3": _sam3, "sam3d": _sam3d}
