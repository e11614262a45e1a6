"""Results as COCO's JSON: a file for each picture, and all of them in one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sam_tvm.runtime.draw import Finding
from sam_tvm.runtime.rle import encode_mask

Json = dict[str, Any]


def categories(texts: Sequence[str]) -> list[Json]:
    """Return a category for each prompt, numbered from 1."""
    return [{"id": number, "name": text} for number, text in enumerate(texts, start=1)]


def picture_json(
    name: str, size: tuple[int, int], texts: Sequence[str], findings: Sequence[Finding]
) -> Json:
    """Return a picture's results.

    Args:
        name: of the picture.
        size: its height and width, pixels.
        texts: the prompts.
        findings: what was found, for each of them.

    Returns:
        A COCO data set of one picture, number 1: each object has its category (the prompt), score,
        box (x, y, width, height in pixels), area in pixels, and mask as compressed run lengths.

    """
    annotations = [
        annotation
        for category, finding in enumerate(findings, start=1)
        for annotation in _annotations(finding, category)
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    height, width = size
    return {
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": categories(texts),
        "annotations": annotations,
    }


def _annotations(finding: Finding, category: int) -> Iterator[Json]:
    for mask, box, score in zip(finding.masks[:, 0], finding.found, finding.scores, strict=True):
        x0, y0, x1, y1 = (float(value) for value in box)
        yield {
            "id": 0,
            "image_id": 1,
            "category_id": category,
            "score": round(float(score), 6),
            "bbox": [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)],
            "area": int(mask.sum()),
            "iscrowd": 0,
            "segmentation": encode_mask(mask),
        }


def write_json(stream: IO[str], held: Json) -> None:
    """Write what `picture_json` returned."""
    stream.write(json.dumps(held, ensure_ascii=False, indent=1) + "\n")


def write_merged(stream: IO[str], texts: Sequence[str], parts: Iterable[Path], info: Json) -> None:
    """Write the results of many pictures as one COCO data set, holding one at a time.

    Args:
        stream: to write to.
        texts: the prompts.
        parts: files that hold what `picture_json` returned.
        info: what the data set says of itself.

    """
    images = []
    stream.write(f'{{"info": {json.dumps(info, ensure_ascii=False)},\n"annotations": [')
    count = 0
    for number, part in enumerate(parts, start=1):
        held = json.loads(part.read_text(encoding="utf-8"))
        images.append({**held["images"][0], "id": number})
        for annotation in held["annotations"]:
            count += 1
            line = json.dumps({**annotation, "id": count, "image_id": number})
            stream.write(("," if count > 1 else "") + "\n" + line)
    rest = {"images": images, "categories": categories(texts)}
    stream.write("],\n" + json.dumps(rest, ensure_ascii=False)[1:] + "\n")
