"""The task that runs one bundle on some pictures: its times, its memory, and what it finds."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.benchmark.memory import peak_rss_bytes
from sam_tvm.benchmark.process import Phase
from sam_tvm.pipeline.detections import Detections, counted, widest_gap_threshold


@dataclass(frozen=True)
class BundleTimes:
    """Medians in seconds, and the largest resident memory."""

    load_s: float
    picture_s: float
    prompt_s: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class BundleRun:
    """Run a bundle on each picture with each text.

    Attributes:
        bundle: folder or archive.
        pictures: files.
        texts: prompts.
        rounds: how often each step is timed.
        results: folder for ``PICTURE-TEXT.npz``, what is found (`load_detections`).
        thresholds: folder of another run whose thresholds are taken; None: each lies in the widest
            gap of the scores, so that rounding alone hardly changes what is found.
        random: the bundle's weights are random.

    """

    bundle: Path
    pictures: tuple[Path, ...]
    texts: tuple[str, ...]
    rounds: int
    results: Path
    thresholds: Path | None
    random: bool

    def run(self, phase: Phase) -> BundleTimes:
        """Load, run, time."""
        from PIL import Image

        from sam_tvm.runtime.segmenter import Segmenter

        phase("loading")
        started = time.perf_counter()
        segmenter = Segmenter.load(self.bundle)
        load_s = time.perf_counter() - started
        pictures, prompts = [], []
        for number, path in enumerate(self.pictures):
            image = Image.open(path).convert("RGB")
            phase(f"running on {path.name}")
            for _ in range(self.rounds):
                started = time.perf_counter()
                state = segmenter.set_image(image)
                pictures.append(time.perf_counter() - started)
            for index, text in enumerate(self.texts):
                segmenter.reset_all_prompts(state)
                segmenter.set_confidence_threshold(1.0)  # masks are made once, below
                for _ in range(self.rounds):
                    started = time.perf_counter()
                    segmenter.set_text_prompt(text, state)
                    prompts.append(time.perf_counter() - started)
                self._save(segmenter, state, f"{number}-{index}.npz")
        return BundleTimes(
            load_s, statistics.median(pictures), statistics.median(prompts), peak_rss_bytes()
        )

    def _save(self, segmenter: Any, state: dict[str, Any], name: str) -> None:
        if self.thresholds is not None:
            with np.load(self.thresholds / name) as held:
                threshold = float(held["threshold"])
        else:
            segmenter.set_confidence_threshold(-1.0, state)
            threshold = widest_gap_threshold(state["scores"], counted(False, self.random))
        segmenter.set_confidence_threshold(threshold, state)
        np.savez_compressed(
            self.results / name,
            threshold=threshold,
            masks=state["masks"][:, 0],
            boxes=state["boxes"],
            scores=state["scores"],
        )


def load_detections(path: Path) -> Detections:
    """What a run has saved."""
    with np.load(path) as held:
        return Detections(held["masks"], held["boxes"], held["scores"])
