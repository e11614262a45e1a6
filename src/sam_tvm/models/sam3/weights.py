"""SAM3's image model with weights in it, and what identifies those weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sam_tvm.models.presets import Preset
from sam_tvm.models.sam3.build import build_model
from sam_tvm.models.sam3.checkpoint import load_checkpoint
from sam_tvm.models.sam3.random_weights import fill_random, rules_digest
from sam_tvm.models.source import WeightsInfo, file_sha256, random_source, state_dict_sha256

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image


def load_model(
    preset: Preset, checkpoint: Path | None = None, seed: int = 0
) -> tuple[Sam3Image, WeightsInfo]:
    """Build the preset's image model with weights from `checkpoint` or, without, from `seed`.

    The caller holds `reference_environment()`. The model is on the CPU, float32, in evaluation
    mode and without gradients. Raises `CheckpointError` if the file does not fit.
    """
    if checkpoint is None:
        model = build_model(preset.sam3)
        fill_random(model, seed)
        info = WeightsInfo(random_source(seed), state_dict_sha256(model.state_dict()))
    else:
        sha256 = file_sha256(checkpoint)  # also finds a missing file before the slow construction
        model = build_model(preset.sam3)
        ignored = load_checkpoint(model, checkpoint)
        info = WeightsInfo(checkpoint.name, sha256, ignored)
    return model, info


def weights_identity(checkpoint: Path | None = None, seed: int = 0) -> str:
    """Return a string that changes when `load_model`'s weights would, without building a model."""
    if checkpoint is None:
        return f"random-{rules_digest()}-{seed}"
    return f"sha256-{file_sha256(checkpoint)}"
