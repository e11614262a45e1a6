"""Checkpoints in the format that `sam3.model_builder._load_checkpoint` reads.

That is a file of `torch.save` holding a dict of tensors, bare or under the key "model". The image
model's entries begin with "detector."; the published file also serves the video model, whose
parts are counted and ignored. Unlike the reference, which prints what is missing and drops the
rest, anything that does not fit is an error here, and then the model is left as it was.
"""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam_tvm.runtime.errors import CheckpointError

PREFIX = "detector."
SHOWN = 3  # how many keys of one kind an error message lists
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
    entries, ignored = _split(_read(path))
    expected = {PREFIX + key: tensor for key, tensor in model.state_dict().items()}
    problems = [*_key_problems(entries, expected), *_tensor_problems(entries, expected)]
    if problems:
        counts = _counts(entries, expected)
        raise CheckpointError(f"{path} does not fit the model ({counts}): {'; '.join(problems)}")
    with torch.no_grad():
        for key, tensor in expected.items():
            if not tensor.is_complex():
                tensor.copy_(entries[key])
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


def _read(path: Path) -> Mapping[str, Any]:
    """Return the dict of the file, its tensors mapped into memory where the format allows."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which then raise
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # damaged files make torch.load raise many types
        raise CheckpointError(f"{path} {_refusal(error)}") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{path} holds a {kind}; expected a dict of tensors")
    return content


def _is_zip(path: Path) -> bool:
    """Tell torch's zip format, which can be mapped, from its older one; truncated ones too."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _refusal(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
        return "is refused: it holds Python objects other than tensors, which could run code"
    return "is not a readable checkpoint: truncated, damaged or not written by torch.save"


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


def _key_problems(entries: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    required = {key for key, tensor in expected.items() if not tensor.is_complex()}
    return [
        *_listed("missing", sorted(required - entries.keys())),
        *_listed("unexpected", sorted(entries.keys() - expected.keys())),
    ]


def _counts(entries: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return how many weights were expected and got; the optional frequencies do not count."""
    optional = {key for key, tensor in expected.items() if tensor.is_complex()}
    return f"expected {len(expected.keys() - optional)} keys, got {len(entries.keys() - optional)}"


def _tensor_problems(entries: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    shapes, types, frequencies = [], [], []
    for key in sorted(entries.keys() & expected.keys()):
        got, want = entries[key], expected[key]
        if not isinstance(got, torch.Tensor):
            types.append(f"{key} (expected a tensor, got {type(got).__name__})")
        elif got.shape != want.shape:
            shapes.append(f"{key} (expected {tuple(want.shape)}, got {tuple(got.shape)})")
        elif not (got.is_complex() if want.is_complex() else got.is_floating_point()):
            types.append(f"{key} (expected {_dtype(want)}, got {_dtype(got)})")
        elif want.is_complex() and not _same_frequencies(got, want):
            frequencies.append(key)
    return [
        *_listed("of another shape", shapes),
        *_listed("of another type", types),
        *_listed("with other rotary frequencies than the model computes", frequencies),
    ]


def _same_frequencies(got: torch.Tensor, want: torch.Tensor) -> bool:
    difference = (got.to(want.dtype) - want).abs().max()
    return bool(difference <= FREQS_TOLERANCE)  # False for NaN


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(what: str, items: Sequence[str]) -> list[str]:
    """Return one phrase for all `items`, the first few by name; none if there are none."""
    if not items:
        return []
    shown = ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
    return [f"{len(items)} key{'s' if len(items) > 1 else ''} {what}: {shown}"]
