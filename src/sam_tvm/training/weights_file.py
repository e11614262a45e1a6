"""The trained weights as a file that `--checkpoint` takes, as it does the published one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from sam_tvm.models.sam3.checkpoint import PREFIX
from sam_tvm.training.model import exported_state

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image


def save_weights(model: Sam3Image, path: Path) -> None:
    """Write a trained model's weights as float16 safetensors under the published file's keys.

    The file is whole or absent. Raises `OverflowError` if a weight does not fit float16.
    """
    entries = {}
    for key, value in exported_state(model).items():
        entries[PREFIX + key] = value.to(torch.float16).contiguous().clone()
        if not torch.isfinite(entries[PREFIX + key]).all():
            raise OverflowError(f"{key} has values that float16 cannot hold")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(entries, temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
