"""Draw the README's pictures: the drawn scene, and what the end-to-end run found in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sam_tvm.console import Parser, run
from sam_tvm.pipeline.job import DEFAULT_ARTIFACTS
from sam_tvm.pipeline.pictures import DRAWN, load_picture
from sam_tvm.runtime.errors import UserError

CASES = {
    "drawn_text": 'the phrase "red circle"',
    "drawn_box": "a box around one star",
    "drawn_negative_box": '"circle", and a negative box',
}
FOLDER = Path("NOTES/pictures")
GAP, CAPTION = 12, 30  # pixels


def _side_by_side(overlays: dict[str, Path]) -> Image.Image:
    pictures = {caption: Image.open(path) for caption, path in overlays.items()}
    width, height = next(iter(pictures.values())).size
    whole = Image.new("RGB", ((width + GAP) * len(pictures) - GAP, height + CAPTION), "white")
    canvas, font = ImageDraw.Draw(whole), ImageFont.load_default(size=20)
    for index, (caption, picture) in enumerate(pictures.items()):
        left = index * (width + GAP)
        canvas.text((left, 0), caption, "black", font)
        whole.paste(picture, (left, CAPTION))
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and write the pictures; returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=DEFAULT_ARTIFACTS)
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"default: {FOLDER}")
    options = parser.parse_args(arguments)
    found = options.artifacts / "tiny" / "end_to_end"
    overlays = {caption: found / case / "overlay.png" for case, caption in CASES.items()}
    if missing := next((path for path in overlays.values() if not path.is_file()), None):
        raise UserError(f"there is no {missing}: run make port first")
    options.out.mkdir(parents=True, exist_ok=True)
    load_picture(DRAWN).save(options.out / "drawn.png")
    _side_by_side(overlays).save(options.out / "segmented.png")
    print(f"pictures: {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
