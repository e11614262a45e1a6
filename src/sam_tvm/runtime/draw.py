"""Draws what was found, and what was asked for, over the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Distinct hues that stay visible on photographs (Tableau's ten, the grey replaced).
_PALETTE: tuple[Colour, ...] = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (188, 189, 34),
    (227, 119, 194),
    (23, 190, 207),
    (140, 86, 75),
    (255, 215, 0),
)
_WANTED: Colour = (40, 220, 80)
_UNWANTED: Colour = (240, 50, 50)
_WHITE: Colour = (255, 255, 255)
_MASK_OPACITY = 0.45
_LONGEST_CAPTION = 24


@dataclass(frozen=True)
class Finding:
    """A round of prompts and what was found.

    Attributes:
        text: the text prompt, None where only boxes and points were given.
        boxes: (x0, y0, x1, y1) in pixels, with True for wanted or False for not wanted.
        points: (x, y) in pixels, with the same.
        masks: (N, 1, H, W) bool.
        found: (N, 4) xyxy in pixels.
        scores: (N,).

    """

    text: str | None
    boxes: Sequence[tuple[tuple[float, ...], bool]]
    points: Sequence[tuple[tuple[float, ...], bool]]
    masks: np.ndarray
    found: np.ndarray
    scores: np.ndarray


def draw_overlay(image: np.ndarray, findings: Sequence[Finding]) -> Image.Image:
    """Draw masks, boxes, scores and prompts.

    Several findings get a colour each and their text beside the score; the objects of a single
    one get a colour each.

    Args:
        image: (H, W, 3) uint8; it is not changed.
        findings: drawn in turn.

    Returns:
        An RGB picture of the same size.

    """
    canvas = image.copy()
    labels = []
    for index, finding in enumerate(findings):
        # The best last, so that nothing hides it.
        for number in np.argsort(finding.scores, kind="stable"):
            colour = _PALETTE[(index if len(findings) > 1 else int(number)) % len(_PALETTE)]
            _tint(canvas, finding.masks[number, 0], colour)
            caption = f"{finding.scores[number]:.2f}"
            if len(findings) > 1:
                caption = f"{_printable(finding.text, index)} {caption}"
            labels.append((finding.found[number], colour, caption))

    picture = Image.fromarray(canvas)
    pen = _Pen(picture)
    for box, colour, _ in labels:
        pen.box(box, colour)
    for finding in findings:
        for corners, wanted in finding.boxes:
            pen.prompt_box(corners, _WANTED if wanted else _UNWANTED)
        for point, wanted in finding.points:
            pen.prompt_point(point, wanted)
    for box, colour, caption in labels:
        pen.caption(box, colour, caption)
    return picture


def _tint(canvas: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Blend a colour into the masked pixels and draw the mask's outline."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return
    line = _line_width(width, height)
    window = (
        slice(max(rows[0] - line, 0), rows[-1] + 1 + line),
        slice(max(columns[0] - line, 0), columns[-1] + 1 + line),
    )
    part, inside = canvas[window], mask[window]
    edge = inside & ~_shrink(inside, line)
    levels = np.arange(256)
    for channel, value in enumerate(colour):
        table = (levels * (1 - _MASK_OPACITY) + value * _MASK_OPACITY).astype(np.uint8)
        np.copyto(part[..., channel], table[part[..., channel]], where=inside)
        np.copyto(part[..., channel], value, where=edge)


def _shrink(mask: np.ndarray, width: int) -> np.ndarray:
    """Remove a border of `width` pixels, but none where the mask meets the array's edge."""
    for _ in range(width):
        padded = np.pad(mask, 1, mode="edge")
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _line_width(width: int, height: int) -> int:
    return max(1, round(math.sqrt(width * height) / 256))


def _printable(text: str | None, index: int) -> str:
    """Shorten a text for a caption; Pillow's own font knows Latin letters only."""
    if not text or not all(" " <= letter <= "\u024f" for letter in text):
        return f"prompt {index + 1}"
    return text if len(text) <= _LONGEST_CAPTION else text[: _LONGEST_CAPTION - 1] + "\u2026"


class _Pen:
    """Draws on a picture with lines and letters that suit its size."""

    def __init__(self, picture: Image.Image) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._width, self._height = picture.size
        self._line = _line_width(*picture.size)
        size = max(11, round(math.sqrt(self._width * self._height) / 45))
        self._font = ImageFont.load_default(size)

    def box(self, corners: Sequence[float], colour: Colour) -> None:
        self._draw.rectangle(_ordered(corners), outline=colour, width=self._line)

    def caption(self, corners: Sequence[float], colour: Colour, text: str) -> None:
        """Write on a ground of the box's colour, above its top left corner where there is room."""
        pad = max(1, self._line)
        left, top, right, bottom = self._draw.textbbox((0, 0), text, font=self._font)
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        x0, y0 = _ordered(corners)[:2]
        x = min(max(x0, 0), max(self._width - width, 0))
        y = y0 - height if y0 >= height else max(y0, 0)
        self._draw.rectangle((x, y, x + width, y + height), fill=colour)
        bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        ink = (0, 0, 0) if bright else _WHITE
        self._draw.text((x + pad - left, y + pad - top), text, fill=ink, font=self._font)

    def prompt_box(self, corners: Sequence[float], colour: Colour) -> None:
        """Draw a dashed box, white between the dashes."""
        x0, y0, x1, y1 = _ordered(corners)
        self._draw.rectangle((x0, y0, x1, y1), outline=_WHITE, width=2 * self._line)
        dash = 6 * self._line
        # Inside the rectangle, as its own outline is drawn.
        x1, y1 = x1 - 2 * self._line + 1, y1 - 2 * self._line + 1
        for x in _steps(x0, x1, 2 * dash):
            for y in (y0, y1):
                self._block(x, y, min(dash, x1 - x), 2 * self._line, colour)
        for y in _steps(y0, y1, 2 * dash):
            for x in (x0, x1):
                self._block(x, y, 2 * self._line, min(dash, y1 - y), colour)

    def _block(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        if width >= 1 and height >= 1:
            self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)

    def prompt_point(self, point: Sequence[float], wanted: bool) -> None:
        """Draw a disc with a plus or a minus."""
        x, y = point
        radius, arm = 4 * self._line, 2.5 * self._line
        self._draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius),
            fill=_WANTED if wanted else _UNWANTED,
            outline=_WHITE,
            width=self._line,
        )
        self._draw.line((x - arm, y, x + arm, y), fill=_WHITE, width=self._line)
        if wanted:
            self._draw.line((x, y - arm, x, y + arm), fill=_WHITE, width=self._line)


def _steps(start: float, stop: float, step: float) -> list[float]:
    return [start + step * index for index in range(max(0, math.ceil((stop - start) / step)))]


def _ordered(corners: Sequence[float]) -> tuple[float, float, float, float]:
    """Return corners that Pillow accepts: the first at the top left."""
    x0, y0, x1, y1 = (float(value) for value in corners)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
