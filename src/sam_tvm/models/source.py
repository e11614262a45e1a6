"""Where a model's weights come from, and what identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_tvm.runtime.errors import CheckpointError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class WeightsSource:
    """Which weights a model is given.

    Attributes:
        checkpoint: SAM3's file or SAM-3D-Objects' folder; None: random weights.
        seed: of the random weights.
    """

    checkpoint: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class WeightsInfo:
    """Where a model's weights came from.

    Attributes:
        source: "random, seed N" or the name of the file or folder.
        sha256: of what the weights are: of the file, of a folder's files, of random values or
            what they are drawn from.
        ignored: how many entries of a checkpoint have no use here, by the part they belong to.
        settings: what a checkpoint says beside its weights, of how the model is to be run.
    """

    source: str
    sha256: str
    ignored: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The same as JSON, as manifests and reports have it; settings where there are any."""
        record = asdict(self)
        if not self.settings:
            del record["settings"]
        return record


def random_source(seed: int) -> str:
    """What `WeightsInfo.source` says of random weights."""
    return f"random, seed {seed}"


def is_random(source: str) -> bool:
    """Whether `WeightsInfo.source` speaks of random weights."""
    return source.startswith("random, seed ")


def state_dict_sha256(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of a state dict's real-valued entries in the order of their keys.

    Each contributes the line "<key> <dtype> <shape>", e.g. "head.weight float32 4,64", and then
    its values as contiguous little-endian bytes. Complex entries are computed, not weights.
    """
    import torch

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


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are there to tell versions of the file apart in the cache.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
