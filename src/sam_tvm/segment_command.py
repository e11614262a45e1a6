"""`sam-tvm segment`: a picture and prompts in, an overlay, masks and a JSON file out."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_tvm.console import Parser
from sam_tvm.runtime.draw import Finding
from sam_tvm.runtime.errors import BundleError, PromptError
from sam_tvm.runtime.image import exif_orientation, open_image, to_rgb_array
from sam_tvm.runtime.results import check_output_folder, write_results

if TYPE_CHECKING:
    from sam_tvm.runtime import Segmenter
    from sam_tvm.runtime.tokenizer import Tokenizer

DEFAULT_BUNDLE = Path("artifacts/tiny/bundles/sam3-llvm-float32")
_LABELS = {"1": True, "+": True, "positive": True, "0": False, "-": False, "negative": False}

Prompt = tuple[tuple[float, ...], bool]


def main(arguments: Sequence[str]) -> int:
    """Run the command; raises UserError for anything that cannot be used."""
    options = _parser().parse_args(arguments)
    folder = _bundle_folder(options.bundle)
    boxes = [_parse(text, "box", 4) for text in options.box]
    points = [_parse(text, "point", 2) for text in options.point]
    _check_prompts(options, boxes, points)
    check_output_folder(options.out)
    image = _open(options.photo, options.upright)
    height, width = image.shape[:2]
    for box, _ in boxes:
        _check_box(box, width, height)
    for point, _ in points:
        _check_point(point, width, height)

    from sam_tvm.runtime import Segmenter

    segmenter = Segmenter.load(folder, options.threads, options.threshold)
    for text in options.text:
        _check_length(text, segmenter.bundle.tokenizer)
    findings = _find(segmenter, image, options.text or [None], boxes, points)
    manifest = segmenter.bundle.manifest
    header = {
        "picture": {"file": str(options.photo), "width": width, "height": height},
        "bundle": {
            key: manifest.raw.get(key)
            for key in ("model", "preset", "target", "precision", "weights")
        },
        "threshold": options.threshold,
    }
    write_results(options.out, image, findings, header)
    for finding in findings:
        what = "boxes and points" if finding.text is None else f'"{finding.text}"'
        print(f"{what}: {len(finding.scores)} found")
    print(f"results: {options.out}")
    return 0


def _find(
    segmenter: Segmenter,
    image: np.ndarray,
    texts: Sequence[str | None],
    boxes: Sequence[Prompt],
    points: Sequence[Prompt],
) -> list[Finding]:
    """Give each text, with all boxes and points, to the model; the picture is encoded once."""
    height, width = image.shape[:2]
    state = segmenter.set_image(image)
    findings = []
    for text in texts:
        segmenter.reset_all_prompts(state)
        segmenter.set_prompts(
            state,
            text,
            [(_normalised_box(box, width, height), wanted) for box, wanted in boxes],
            [((x / width, y / height), wanted) for (x, y), wanted in points],
        )
        result = state["masks"], state["boxes"], state["scores"]
        findings.append(Finding(text, boxes, points, *result))
    return findings


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sam-tvm segment",
        description="Find what a text, boxes or points describe. Coordinates are pixels.",
    )
    parser.add_argument("photo", type=Path, help="the picture")
    parser.add_argument("--bundle", type=Path, help=f"default: {DEFAULT_BUNDLE}")
    parser.add_argument(
        "--text", action="append", default=[], help="a short noun phrase; may be repeated"
    )
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1[,LABEL]",
        help="an example of what to find (label 1, the default) or not to find (0); repeatable",
    )
    parser.add_argument(
        "--point", action="append", default=[], metavar="X,Y[,LABEL]", help="likewise, a point"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="what a score must exceed (default 0.5)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--upright", action="store_true", help="turn the picture as its EXIF orientation says"
    )
    parser.add_argument("--threads", type=int, help="at most so many (default: all cores)")
    return parser


def _bundle_folder(given: Path | None) -> Path:
    if given is None and not DEFAULT_BUNDLE.is_dir():
        raise BundleError(
            f"no bundle at {DEFAULT_BUNDLE}: name one with --bundle, or make it with sam-tvm port"
        )
    return given or DEFAULT_BUNDLE


def _parse(text: str, kind: str, count: int) -> Prompt:
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


def _check_prompts(
    options: argparse.Namespace, boxes: Sequence[Prompt], points: Sequence[Prompt]
) -> None:
    if not (options.text or boxes or points):
        raise PromptError("nothing to look for: give --text, --box or --point")
    if any(not text.strip() for text in options.text):
        raise PromptError("--text is empty: name what to look for")
    if not 0 <= options.threshold <= 1:
        raise PromptError(f"--threshold must lie in 0 to 1, not {options.threshold:g}")
    if options.threads is not None and options.threads < 1:
        raise PromptError(f"--threads must be at least 1, not {options.threads}")


def _check_box(box: tuple[float, ...], width: int, height: int) -> None:
    x0, y0, x1, y1 = box
    name = ",".join(f"{value:g}" for value in box)
    if x0 >= x1 or y0 >= y1:
        raise PromptError(f"--box {name}: the first corner must be left of and above the second")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise PromptError(f"--box {name}: reaches outside the picture, {width} x {height} pixels")


def _check_point(point: tuple[float, ...], width: int, height: int) -> None:
    x, y = point
    if not (0 <= x <= width and 0 <= y <= height):
        raise PromptError(
            f"--point {x:g},{y:g}: lies outside the picture, {width} x {height} pixels"
        )


def _check_length(text: str, tokenizer: Tokenizer) -> None:
    """Refuse what the model would silently cut off."""
    room, needed = tokenizer.context_length - 2, len(tokenizer.encode(text))
    if needed > room:
        raise PromptError(
            f"--text of {len(text)} characters is {needed} tokens long, the model reads {room}: "
            "make it shorter"
        )


def _open(path: Path, upright: bool) -> np.ndarray:
    picture = open_image(path, upright)
    if not upright and exif_orientation(picture) != 1:
        print(
            f"note: {path} is stored turned or mirrored (EXIF orientation "
            f"{exif_orientation(picture)}) and is used as stored; --upright turns it",
            file=sys.stderr,
        )
    return to_rgb_array(picture)


def _normalised_box(box: tuple[float, ...], width: int, height: int) -> tuple[float, ...]:
    """Turn pixel corners into centre and size as fractions."""
    x0, y0, x1, y1 = box
    return (
        (x0 + x1) / 2 / width,
        (y0 + y1) / 2 / height,
        (x1 - x0) / width,
        (y1 - y0) / height,
    )
