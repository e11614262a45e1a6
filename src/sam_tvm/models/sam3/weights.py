"""SAM3's image model with weights in it, and what identifies those weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from sam_tvm.models.presets import Preset
from sam_tvm.models.sam3.build import build_model
from sam_tvm.models.sam3.checkpoint import load_checkpoint
from sam_tvm.models.sam3.random_weights import fill_random, rules_digest
from sam_tvm.runtime.errors import CheckpointError

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image


@dataclass(frozen=True)
class WeightsInfo:
    """Where a model's weights came from."""

    source: str  # "random, seed N" or the file's name
    sha256: str  # of the file, or for random weights of the values (`state_dict_sha256`)
    ignored: dict[str, int] = field(default_factory=dict)  # unused checkpoint entries, by part


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
        info = WeightsInfo(f"random, seed {seed}", state_dict_sha256(model.state_dict()))
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


def state_dict_sha256(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state dict's real-valued entries in the order of their keys.

    Each contributes the line "<key> <dtype> <shape>", e.g. "head.weight float32 4,64", and then
    its values as contiguous little-endian bytes. Complex entries are computed, not weights.
    """
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key]
        if tensor.is_complex():
            continue
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{key} {dtype} {','.join(map(str, tensor.shape))}\n".encode())
        digest.update(memoryview(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; raise `CheckpointError` if it cannot be read."""
    try:
        path = path.resolve()
        stat = path.stat()
        return _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from error


@lru_cache(maxsize=8)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are there to tell versions of the file apart in the cache.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
