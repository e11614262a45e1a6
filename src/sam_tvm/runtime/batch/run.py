"""Segments the pictures of a batch one by one; what a former run has done is left as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sam_tvm.runtime.batch import coco
from sam_tvm.runtime.batch.index import DONE, FAILED, Index
from sam_tvm.runtime.batch.pictures import Picture
from sam_tvm.runtime.draw import Finding, draw_overlay
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.replacing import PARTIAL, replacing

ANNOTATIONS, OVERLAYS, MERGED = "annotations", "overlays", "coco.json"


@dataclass(frozen=True)
class Summary:
    """How a batch went: pictures done in this run, done before, and failed, with the reasons."""

    done: int
    before: int
    failed: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """A batch and where its results go.

    Attributes:
        pictures: what to segment.
        texts: the prompts.
        folder: for the results: ``annotations/NAME.json``, ``overlays/NAME.png``, ``index.jsonl``
            and, when all is done, ``coco.json``.
        settings: what the results depend on beside the picture.
        overlays: whether to draw them.

    """

    pictures: Sequence[Picture]
    texts: Sequence[str]
    folder: Path
    settings: dict[str, Any]
    overlays: bool = True

    def run(
        self,
        read: Callable[[Path], np.ndarray],
        find: Callable[[np.ndarray], Sequence[Finding]],
        overwrite: bool = False,
    ) -> Summary:
        """Segment what is not done yet, with a bar on stderr.

        Each file is whole or absent, and a picture is noted in the index when its files are there,
        so that a run that was killed can be resumed by another one.

        Args:
            read: returns a file's pixels, (H, W, 3) uint8, or raises UserError.
            find: returns what is found for each prompt.
            overwrite: forget what was done before.

        Raises:
            UserError: the folder holds results of other settings.
            OSError: nothing can be written.

        """
        with closing(Index(self.folder, self.settings, overwrite)) as index:
            self._tidy()
            waiting = [picture for picture in self.pictures if not self._is_done(index, picture)]
            before = len(self.pictures) - len(waiting)
            failed: dict[str, str] = {}
            bar = tqdm(waiting, total=len(self.pictures), initial=before, unit="picture")
            with bar:
                for picture in bar:
                    try:
                        self._segment(picture, index, read, find)
                    except UserError as error:
                        failed[picture.name] = " ".join(str(error).split())
                        index.add(picture, FAILED, error=failed[picture.name])
                        bar.write(f"skipped: {failed[picture.name]}", file=sys.stderr)
            self._merge(index)
        return Summary(len(waiting) - len(failed), before, failed)

    def _is_done(self, index: Index, picture: Picture) -> bool:
        return index.is_done(picture) and self._annotations(picture.name).is_file()

    def _tidy(self) -> None:
        """Remove what a killed run was writing."""
        for folder in (self.folder, self.folder / ANNOTATIONS, self.folder / OVERLAYS):
            for path in folder.glob(f"**/{PARTIAL}*" if folder != self.folder else f"{PARTIAL}*"):
                path.unlink()

    def _annotations(self, name: str) -> Path:
        return self.folder / ANNOTATIONS / f"{name}.json"

    def _segment(
        self,
        picture: Picture,
        index: Index,
        read: Callable[[Path], np.ndarray],
        find: Callable[[np.ndarray], Sequence[Finding]],
    ) -> None:
        image = read(picture.path)
        findings = find(image)
        height, width = image.shape[:2]
        held = coco.picture_json(picture.name, (height, width), self.texts, findings)
        if self.overlays:
            with replacing(self.folder / OVERLAYS / f"{picture.name}.png", "wb") as file:
                draw_overlay(image, findings).save(file, format="PNG")
        with replacing(self._annotations(picture.name)) as file:
            coco.write_json(file, held)
        index.add(picture, DONE, found=[len(finding.scores) for finding in findings])

    def _merge(self, index: Index) -> None:
        """Write the results of all pictures as one file."""
        names = [p.name for p in self.pictures if self._is_done(index, p)]
        parts = (self._annotations(name) for name in names)
        with replacing(self.folder / MERGED) as file:
            coco.write_merged(file, self.texts, parts, self.settings)
