"""Results as files: overlay.png, masks as PNG, result.json."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_tvm.runtime.draw import Finding, draw_overlay
from sam_tvm.runtime.errors import UserError

_OVERLAY = "overlay.png"
_RESULT = "result.json"
_MASKS = "masks"
_MASK_NAME = re.compile(r"\d+-\d{3,}\.png")


def check_output_folder(folder: Path) -> None:
    """Fail early where nothing could be written later.

    Raises:
        UserError: `folder` is a file, or it, or what it would be made in, is not writable.

    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give a folder for the results")
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"no permission to write results to {folder}")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Make a folder to write results in before they are moved into `folder`, and remove it after.

    Args:
        folder: made if it does not exist; removed again if nothing is moved into it.

    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()


def write_results(
    folder: Path, image: np.ndarray, findings: Sequence[Finding], header: dict[str, Any]
) -> None:
    """Write a picture's results; those of an earlier run in the folder are replaced.

    Each file is whole or absent, and ``result.json`` comes last: where it lies, the files that it
    names are there and its own.

    Args:
        folder: made if it does not exist.
        image: (H, W, 3) uint8.
        findings: one per round of prompts.
        header: put before the findings in ``result.json``.

    """
    with staged(folder) as staging:
        (staging / _MASKS).mkdir()
        entries = [
            _entry(finding, index, staging) for index, finding in enumerate(findings, start=1)
        ]
        draw_overlay(image, findings).save(staging / _OVERLAY)
        text = json.dumps({**header, "prompts": entries}, indent=2, ensure_ascii=False) + "\n"
        (staging / _RESULT).write_text(text, encoding="utf-8")
        _publish(staging, folder)


def _publish(staging: Path, folder: Path) -> None:
    (folder / _RESULT).unlink(missing_ok=True)
    masks = folder / _MASKS
    masks.mkdir(exist_ok=True)
    for path in masks.iterdir():
        if _MASK_NAME.fullmatch(path.name):  # of an earlier run; other files are not ours
            path.unlink()
    for path in (staging / _MASKS).iterdir():
        path.replace(masks / path.name)
    for name in (_OVERLAY, _RESULT):
        (staging / name).replace(folder / name)


def _entry(finding: Finding, index: int, staging: Path) -> dict[str, Any]:
    """Write a finding's masks and return its part of ``result.json``."""
    found = []
    for number, (box, score) in enumerate(zip(finding.found, finding.scores, strict=True)):
        mask = finding.masks[number, 0]
        path = f"{_MASKS}/{index}-{number:03}.png"
        Image.fromarray(mask).save(staging / path)
        found.append(
            {
                "score": round(float(score), 6),
                "box": _pixels(box),
                "area": int(mask.sum()),
                "mask": path,
            }
        )
    return {
        "text": finding.text,
        "boxes": [{"box": _pixels(box), "wanted": label} for box, label in finding.boxes],
        "points": [{"point": _pixels(point), "wanted": label} for point, label in finding.points],
        "found": found,
    }


def _pixels(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]
