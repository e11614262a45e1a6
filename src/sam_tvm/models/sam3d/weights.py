"""SAM-3D-Objects' networks with weights in them, and what identifies those weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from sam_tvm.models.presets import Preset
from sam_tvm.models.sam3d.build import build_component
from sam_tvm.models.sam3d.checkpoint import read_folder
from sam_tvm.models.sam3d.random_weights import fill_random, rules_digest
from sam_tvm.models.source import WeightsInfo, random_source


def load_component(
    name: str, preset: Preset, checkpoint: Path | None = None, seed: int = 0
) -> tuple[nn.Module, WeightsInfo]:
    """Build one component's network with weights from the folder `checkpoint` or from `seed`.

    The caller holds `reference_environment("sam3d")`. The module that is returned has the network
    as its attribute `name`; it is on the CPU, float32, as `build_component` makes it.

    Raises:
        CheckpointError: the folder cannot be used, or does not fit the preset.
    """
    info = weights_info(preset, checkpoint, seed)  # also reads the folder, before slow construction
    holder = nn.Module()
    holder.add_module(name, build_component(name, preset.sam3d))
    holder.training = False
    if checkpoint is None:
        fill_random(holder, seed)
    else:
        read_folder(checkpoint, preset.sam3d).load(name, holder.get_submodule(name))
    return holder, info


def weights_info(preset: Preset, checkpoint: Path | None = None, seed: int = 0) -> WeightsInfo:
    """What the weights of all components are; no network is built.

    Random weights are too many to hash their values each time: they are identified by what they
    are drawn from, the seed and the rules.

    Raises:
        CheckpointError: the folder cannot be used, or does not fit the preset.
    """
    if checkpoint is None:
        identity = weights_identity(preset, seed=seed)
        return WeightsInfo(random_source(seed), hashlib.sha256(identity.encode()).hexdigest())
    folder = read_folder(checkpoint, preset.sam3d)
    settings: dict[str, Any] = folder.settings.record()
    return WeightsInfo(checkpoint.resolve().name, folder.sha256(), settings=settings)


def weights_identity(preset: Preset, checkpoint: Path | None = None, seed: int = 0) -> str:
    """Return a string that changes when the weights would, without building a network."""
    if checkpoint is None:
        return f"random-{rules_digest()}-{seed}"
    return f"sha256-{read_folder(checkpoint, preset.sam3d).sha256()}"
