"""`sam-tvm segment`: a picture and prompts in, an overlay, masks and a JSON file out.

Of several pictures (a folder, a pattern, a list) the masks come as COCO's JSON; such a run can be
killed and resumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sam_tvm.console import Parser
from sam_tvm.runtime.batch.index import NAME as INDEX_NAME
from sam_tvm.runtime.batch.pictures import find_pictures, is_batch
from sam_tvm.runtime.batch.run import Batch, Summary
from sam_tvm.runtime.draw import Finding
from sam_tvm.runtime.errors import BundleError, PromptError
from sam_tvm.runtime.image import exif_orientation, open_image, to_rgb_array
from sam_tvm.runtime.results import check_output_folder, write_results
from sam_tvm.segment_prompts import (
    Prompt,
    check_box,
    check_length,
    check_point,
    normalised_box,
    parse,
)

if TYPE_CHECKING:
    from sam_tvm.runtime import Segmenter
    from sam_tvm.runtime.manifest import Manifest

DEFAULT_BUNDLE = Path("artifacts/tiny/bundles/sam3-llvm-float32")

_BUNDLE_FACTS = ("model", "preset", "target", "precision", "weights")
_MOST_REASONS = 5  # of pictures that were skipped, in the summary


def main(arguments: Sequence[str]) -> int:
    """Run the command; raises UserError for anything that cannot be used."""
    options = _parser().parse_args(arguments)
    folder = _bundle_folder(options.bundle)
    boxes = [parse(text, "box", 4) for text in options.box]
    points = [parse(text, "point", 2) for text in options.point]
    _check_prompts(options, boxes, points)
    check_output_folder(options.out)
    if is_batch(options.photo):
        return _segment_batch(options, folder)
    _check_single(options)
    photo = Path(options.photo[0])
    image = _open(photo, options.upright)
    height, width = image.shape[:2]
    for box, _ in boxes:
        check_box(box, width, height)
    for point, _ in points:
        check_point(point, width, height)
    segmenter = _load(options, folder)
    findings = _find(segmenter, image, options.text or [None], boxes, points)
    manifest = segmenter.bundle.manifest
    header = {
        "picture": {"file": str(photo), "width": width, "height": height},
        "bundle": {key: manifest.raw.get(key) for key in _BUNDLE_FACTS},
        "threshold": options.threshold,
    }
    write_results(options.out, image, findings, header)
    for finding in findings:
        what = "boxes and points" if finding.text is None else f'"{finding.text}"'
        print(f"{what}: {len(finding.scores)} found")
    print(f"results: {options.out}")
    return 0


def _segment_batch(options: argparse.Namespace, folder: Path) -> int:
    """Segment many pictures; returns 1 if some could not be used."""
    if options.box or options.point:
        raise PromptError("--box and --point belong to one picture: give --text for several")
    pictures = find_pictures(options.photo, options.out)
    segmenter = _load(options, folder)
    turned = 0

    def read(path: Path) -> np.ndarray:
        nonlocal turned
        picture = open_image(path, options.upright)
        turned += not options.upright and exif_orientation(picture) != 1
        return to_rgb_array(picture)

    def find(image: np.ndarray) -> list[Finding]:
        return _find(segmenter, image, options.text, [], [])

    batch = Batch(
        pictures,
        options.text,
        options.out,
        _settings(options, segmenter.bundle.manifest),
        overlays=not options.no_overlays,
    )
    try:
        summary = batch.run(read, find, options.overwrite)
    except KeyboardInterrupt:
        print("to go on, give the same command again", file=sys.stderr)
        raise
    if turned:
        print(
            f"note: {turned} pictures are stored turned or mirrored (EXIF orientation) and were "
            "used as stored; --upright turns them",
            file=sys.stderr,
        )
    _report(summary, options.out)
    return int(bool(summary.failed))


def _settings(options: argparse.Namespace, manifest: Manifest) -> dict[str, Any]:
    """What a batch's results depend on beside the picture."""
    return {
        "bundle": manifest.raw["manifest_sha256"],
        "texts": options.text,
        "threshold": options.threshold,
        "upright": options.upright,
        "overlays": not options.no_overlays,
    }


def _report(summary: Summary, folder: Path) -> None:
    before = f", {summary.before} were done before" if summary.before else ""
    print(f"{summary.done} pictures segmented{before}, {len(summary.failed)} skipped")
    for reason in list(summary.failed.values())[:_MOST_REASONS]:
        print(f"skipped: {reason}")
    if len(summary.failed) > _MOST_REASONS:
        print(f"and {len(summary.failed) - _MOST_REASONS} more, see {folder / INDEX_NAME}")
    print(f"results: {folder}")


def _load(options: argparse.Namespace, folder: Path) -> Segmenter:
    from sam_tvm.runtime import Segmenter

    verify = True if options.verify else None
    segmenter = Segmenter.load(folder, options.threads, options.threshold, verify)
    for text in options.text:
        check_length(text, segmenter.bundle.tokenizer)
    return segmenter


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
            [(normalised_box(box, width, height), wanted) for box, wanted in boxes],
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
    parser.add_argument(
        "photo",
        nargs="+",
        help="the picture; or several, folders, patterns ('shots/*.jpg') and lists (.txt, a path a "
        "line): a batch",
    )
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
    parser.add_argument(
        "--verify", action="store_true", help="hash the bundle's files though they were before"
    )
    batch = parser.add_argument_group(
        "of a batch",
        "A run that was killed goes on where it was if the command is given again.",
    )
    batch.add_argument("--no-overlays", action="store_true", help="write the JSON files alone")
    batch.add_argument(
        "--overwrite", action="store_true", help="start anew where other results are"
    )
    return parser


def _bundle_folder(given: Path | None) -> Path:
    if given is None and not DEFAULT_BUNDLE.is_dir():
        raise BundleError(
            f"no bundle at {DEFAULT_BUNDLE}: name one with --bundle, or make it with sam-tvm port"
        )
    return given or DEFAULT_BUNDLE


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


def _check_single(options: argparse.Namespace) -> None:
    for name in ("no_overlays", "overwrite"):
        if getattr(options, name):
            raise PromptError(f"--{name.replace('_', '-')} goes with several pictures")


def _open(path: Path, upright: bool) -> np.ndarray:
    picture = open_image(path, upright)
    if not upright and exif_orientation(picture) != 1:
        print(
            f"note: {path} is stored turned or mirrored (EXIF orientation "
            f"{exif_orientation(picture)}) and is used as stored; --upright turns it",
            file=sys.stderr,
        )
    return to_rgb_array(picture)
