"""Files that are whole or absent: hashes, and writing under a temporary name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sam_tvm.runtime.replacing import replacing

CHUNK_BYTES = 1 << 22


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """Size and hash of a file, as manifests record them."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either all of it or what it held before."""
    with replacing(path) as stream:
        stream.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def staging_directory(parent: Path, label: str) -> Iterator[Path]:
    """A fresh folder under `parent` for a stage's outputs; gone afterwards, whatever happened.

    Folders that a killed run left under the same label are removed first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for stale in parent.glob(f".{label}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=parent, prefix=f".{label}."))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def hash_sources(*roots: Path) -> str:
    """One hash over the Python sources below `roots` (files or folders), names included."""
    digest = hashlib.sha256()
    for root in roots:
        files = [root] if root.is_file() else sorted(root.rglob("*.py"))
        for file in files:
            name = file.name if file == root else file.relative_to(root).as_posix()
            digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()
