"""Reading files of weights, and holding their entries against a model's."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sam_tvm.runtime.errors import CheckpointError

SHOWN = 3  # how many keys of one kind an error message lists


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return the dict in a file of `torch.save` or, by its suffix, in a safetensors file.

    Tensors are mapped into memory where the format allows.

    Raises:
        CheckpointError: the file is missing, damaged, holds something else, or could run code.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint file {path}")
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # damaged files make the readers raise many types
        raise CheckpointError(f"{path} {_refusal(error)}") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{path} holds a {kind}; expected a dict of tensors")
    return content


def _read_torch(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of foreign pickles, which then raise
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _is_zip(path: Path) -> bool:
    """Tell torch's zip format, which can be mapped, from its older one; truncated ones too."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _refusal(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
        return "is refused: it holds Python objects other than tensors, which could run code"
    return "is not a readable checkpoint: truncated, damaged or not written by torch.save"


@dataclass(frozen=True)
class Fit:
    """How entries of a checkpoint are to fit a model.

    Attributes:
        expected: the model's state dict, under the checkpoint's keys.
        computed: keys of what the model computes: compared where they are there, never loaded.
        tolerance: largest difference of what is computed.
        called: what an error message calls that.
    """

    expected: Mapping[str, torch.Tensor]
    computed: Collection[str]
    tolerance: float
    called: str

    def load(self, entries: Mapping[str, Any], what: str) -> None:
        """Copy `entries` into the model, in place, as the types it has.

        Raises:
            CheckpointError: naming what does not fit in `what`; the model is then unchanged.
        """
        problems = [*self._key_problems(entries), *self._tensor_problems(entries)]
        if problems:
            wanted, got = (keys - set(self.computed) for keys in map(set, (self.expected, entries)))
            counts = f"expected {len(wanted)} keys, got {len(got)}"
            raise CheckpointError(
                f"{what} does not fit the model ({counts}): {'; '.join(problems)}"
            )
        with torch.no_grad():
            for key, tensor in self.expected.items():
                if key not in self.computed:
                    tensor.copy_(entries[key])

    def _key_problems(self, entries: Mapping[str, Any]) -> list[str]:
        required = self.expected.keys() - set(self.computed)
        return [
            *_listed("missing", sorted(required - entries.keys())),
            *_listed("unexpected", sorted(entries.keys() - self.expected.keys())),
        ]

    def _tensor_problems(self, entries: Mapping[str, Any]) -> list[str]:
        shapes, types, values = [], [], []
        for key in sorted(entries.keys() & self.expected.keys()):
            got, want = entries[key], self.expected[key]
            if not isinstance(got, torch.Tensor):
                types.append(f"{key} (expected a tensor, got {type(got).__name__})")
            elif got.shape != want.shape:
                shapes.append(f"{key} (expected {tuple(want.shape)}, got {tuple(got.shape)})")
            elif not (got.is_complex() if want.is_complex() else got.is_floating_point()):
                types.append(f"{key} (expected {_dtype(want)}, got {_dtype(got)})")
            elif key in self.computed and not self._same(got, want):
                values.append(key)
        return [
            *_listed("of another shape", shapes),
            *_listed("of another type", types),
            *_listed(f"with other {self.called} than the model computes", values),
        ]

    def _same(self, got: torch.Tensor, want: torch.Tensor) -> bool:
        difference = (got.to(want.dtype) - want).abs().max()
        return bool(difference <= self.tolerance)  # False for NaN


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(what: str, items: Sequence[str]) -> list[str]:
    """Return one phrase for all `items`, the first few by name; none if there are none."""
    if not items:
        return []
    shown = ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
    return [f"{len(items)} key{'s' if len(items) > 1 else ''} {what}: {shown}"]
