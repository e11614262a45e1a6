"""Checkpoints in the format that `sam3.model_builder._load_checkpoint` reads.

That is a file of `torch.save` holding a dict of tensors, bare or under the key "model". The image
model's entries begin with "detector."; the published file also serves the video model, whose
parts are counted and ignored. Unlike the reference, which prints what is missing and drops the
rest, anything that does not fit is an error here, and then the model is left as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam_tvm.models.checkpoint_file import Fit, read_checkpoint

PREFIX = "detector."
# Angles of tens of radians in float32: processors and versions differ by a few 1e-6.
FREQS_TOLERANCE = 1e-4


def load_checkpoint(model: nn.Module, path: Path) -> dict[str, int]:
    """Copy the weights in the file `path` into the model, in place, as float32.

    Floating-point tensors of any width are accepted. The complex `freqs_cis` are compared with
    those that the model computed, and not loaded; they may be absent.

    Returns how many entries of each known part without a use here were ignored, by the part's
    name. Raises `CheckpointError`, with the model unchanged, if the file cannot be read, could run
    code, or does not fit the model.
    """
    content = read_checkpoint(path)
    if isinstance(content.get("model"), dict):
        content = content["model"]
    entries, ignored = _split(content)
    expected = {PREFIX + key: tensor for key, tensor in model.state_dict().items()}
    frequencies = {key for key, tensor in expected.items() if tensor.is_complex()}
    fit = Fit(expected, frequencies, FREQS_TOLERANCE, "rotary frequencies")
    fit.load(entries, str(path))
    return ignored


def save_reference_checkpoint(model: nn.Module, path: Path) -> None:
    """Write the model's state dict to `path` in the format of the published checkpoint."""
    entries = {PREFIX + key: tensor for key, tensor in model.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save({"model": entries}, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _split(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the entries that are to fit the model, and counts of the known parts that are not."""
    entries: dict[str, Any] = {}
    ignored: Counter[str] = Counter()
    for key, value in content.items():
        part = _unused_part(str(key))
        if part:
            ignored[part] += 1
        else:
            entries[str(key)] = value
    return entries, dict(ignored)


def _unused_part(key: str) -> str | None:
    if key.startswith("tracker."):  # the video model's
        return "tracker"
    if key.startswith(PREFIX) and "sam2_convs" in key.split("."):  # a second neck, for the tracker
        return "sam2_convs"
    return None
