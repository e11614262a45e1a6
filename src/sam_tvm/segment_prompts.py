"""Prompts of the command line: boxes and points in pixels, texts that the model can read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sam_tvm.runtime.errors import PromptError

if TYPE_CHECKING:
    from sam_tvm.runtime.tokenizer import Tokenizer

_LABELS = {"1": True, "+": True, "positive": True, "0": False, "-": False, "negative": False}
Prompt = tuple[tuple[float, ...], bool]


def parse(text: str, kind: str, count: int) -> Prompt:
    """Read ``x,y,...[,label]``."""
    parts = [part.strip() for part in text.split(",")]
    label = True
    if len(parts) == count + 1:
        name = parts.pop()
        if name not in _LABELS:
            known = ", ".join(_LABELS)
            raise PromptError(f"--{kind} {text}: there is no label {name!r}, use one of {known}")
        label = _LABELS[name]
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        form = "X0,Y0,X1,Y1[,LABEL]" if count == 4 else "X,Y[,LABEL]"
        raise PromptError(f"--{kind} {text}: must be {form} in pixels")
    return numbers, label


def check_box(box: tuple[float, ...], width: int, height: int) -> None:
    """Refuse a box that is reversed, empty or not in the picture; all in pixels."""
    x0, y0, x1, y1 = box
    name = ",".join(f"{value:g}" for value in box)
    if x0 >= x1 or y0 >= y1:
        raise PromptError(f"--box {name}: the first corner must be left of and above the second")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise PromptError(f"--box {name}: reaches outside the picture, {width} x {height} pixels")


def check_point(point: tuple[float, ...], width: int, height: int) -> None:
    """Refuse a point that is not in the picture; all in pixels."""
    x, y = point
    if not (0 <= x <= width and 0 <= y <= height):
        raise PromptError(
            f"--point {x:g},{y:g}: lies outside the picture, {width} x {height} pixels"
        )


def check_length(text: str, tokenizer: Tokenizer) -> None:
    """Refuse what the model would silently cut off."""
    room, needed = tokenizer.context_length - 2, len(tokenizer.encode(text))
    if needed > room:
        raise PromptError(
            f"--text of {len(text)} characters is {needed} tokens long, the model reads {room}: "
            "make it shorter"
        )


def normalised_box(box: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
    """Turn pixel corners into centre and size as fractions."""
    x0, y0, x1, y1 = box
    return (
        (x0 + x1) / 2 / width,
        (y0 + y1) / 2 / height,
        (x1 - x0) / width,
        (y1 - y0) / height,
    )
