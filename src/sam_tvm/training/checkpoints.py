"""A training's folder: the state to go on from, and the history of its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sam_tvm.models.checkpoint_file import read_checkpoint
from sam_tvm.runtime.errors import CheckpointError
from sam_tvm.runtime.replacing import replacing

STATE = "state.pt"
HISTORY = "history.jsonl"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state whole, or leave the one before it."""
    with replacing(folder / STATE, "wb") as stream:
        torch.save(state, stream)


def load_state(folder: Path) -> dict[str, Any] | None:
    """The state of an earlier sitting; None if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / STATE
    return dict(read_checkpoint(path)) if path.is_file() else None


def append_history(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line to the history."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / HISTORY).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The history's entries, in order; none if there is no history."""
    path = folder / HISTORY
    return list(_entries(path)) if path.is_file() else []


def truncate_history(folder: Path, total_steps: int) -> None:
    """Drop what a sitting wrote after its last state, whose steps are taken again."""
    kept = [entry for entry in read_history(folder) if entry["total_steps"] <= total_steps]
    lines = "".join(json.dumps(entry) + "\n" for entry in kept)
    with replacing(folder / HISTORY) as stream:
        stream.write(lines)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if line.strip().endswith("}"):
                raise CheckpointError(f"line {number} of {path} is not JSON") from error
            return  # a line that a killed process left half-written
