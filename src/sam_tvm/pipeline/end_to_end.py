"""The end-to-end comparison: the bundle through the runtime against `Sam3Processor`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sam_tvm.components.sam3.end_to_end import CASES, EndToEndCase, Prompt
from sam_tvm.models.weights import identity
from sam_tvm.pipeline import keys
from sam_tvm.pipeline.detections import (
    Detections,
    compare_detections,
    compare_with_peer,
    counted,
)
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.pictures import DRAWN, load_picture
from sam_tvm.pipeline.reference import request
from sam_tvm.pipeline.rounded_weights import compare_rounded
from sam_tvm.pipeline.stage import one_line
from sam_tvm.pipeline.workers import WorkerCall, run_workers
from sam_tvm.runtime import Segmenter
from sam_tvm.runtime.draw import Finding
from sam_tvm.runtime.results import write_results

WORKER = "sam_tvm.pipeline.end_to_end_worker"
WORKER_SOURCES = (
    "pipeline/end_to_end_worker.py",
    "pipeline/reference_worker.py",
    "pipeline/pictures.py",
    "pipeline/detections.py",
    "scenes/drawing.py",
    "scenes/showcase.py",
)
MODEL = "sam3"


def _reference(
    job: Job, precision: str, thresholds: Path | None = None
) -> tuple[Path, list[WorkerCall]]:
    """The folder of the reference's detections, and the worker that makes them if they are not.

    Args:
        job: preset, weights and folders.
        precision: ``float32``, or ``bfloat16`` for torch's autocast.
        thresholds: where the score thresholds are taken from; None: chosen in this run.
    """
    suffix = "" if precision == "float32" else f"-{precision}"
    folder = job.folder / "reference" / f"{MODEL}_end_to_end{suffix}"
    weights = identity(MODEL, job.preset, job.source(MODEL))
    what = f"end_to_end{suffix}"
    key = keys.reference_key(what, MODEL, job.preset.sam3, weights, *WORKER_SOURCES)
    result = folder / "result.json"
    if not result.is_file() or json.loads(result.read_text(encoding="utf-8"))["key"] != key:
        result.unlink(missing_ok=True)  # an interrupted worker leaves fresh cases among former ones
        chosen = str(thresholds) if thresholds else None
        more = {"key": key, "precision": precision, "thresholds": chosen}
        return folder, [WorkerCall(WORKER, request(job, MODEL, folder, **more))]
    return folder, []


def reference_calls(job: Job) -> list[WorkerCall]:
    """The workers that a comparison of the job's bundle would wait for."""
    return _reference(job, "float32")[1]


def _made(job: Job, precision: str, thresholds: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The reference's detections, made if they are not there, and what its weights were."""
    folder, calls = _reference(job, precision, thresholds)
    run_workers(calls, 1)
    return folder, json.loads((folder / "result.json").read_text(encoding="utf-8"))["weights"]


def _stored(folder: Path, case: EndToEndCase, index: int) -> tuple[Detections, float]:
    """A reference's detections in one round, and the threshold."""
    with np.load(folder / f"{case.name}_{index}.npz") as arrays:
        found = Detections(arrays["masks"], arrays["boxes"], arrays["scores"])
        return found, float(arrays["threshold"])


def apply_prompt(segmenter: Segmenter, prompt: Prompt, state: dict[str, Any]) -> None:
    """Give the segmenter one prompt."""
    if prompt.kind == "text":
        segmenter.set_text_prompt(prompt.value, state)
    elif prompt.kind == "box":
        segmenter.add_geometric_prompt(list(prompt.value), prompt.label, state)
    else:
        segmenter.add_point_prompt(list(prompt.value), prompt.label, state)


def _prompt_row(prompts: tuple[Prompt, ...]) -> dict[str, Any]:
    """The prompts as the report writes them."""
    row: dict[str, Any] = {}
    for prompt in prompts:
        if prompt.kind == "text":
            row["text"] = prompt.value
        else:
            entry = {"value": list(prompt.value), "label": prompt.label}
            row.setdefault({"box": "boxes", "point": "points"}[prompt.kind], []).append(entry)
    return row


def _finding(prompts: tuple[Prompt, ...], state: dict[str, Any]) -> Finding:
    """A round's prompts and detections, in pixels, for the overlay."""
    height, width = state["original_height"], state["original_width"]
    boxes, points, text = [], [], None
    for prompt in prompts:
        if prompt.kind == "text":
            text = prompt.value
        elif prompt.kind == "box":
            x, y, w, h = prompt.value
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            scale = (width, height, width, height)
            pixels = tuple(value * size for value, size in zip(corners, scale, strict=True))
            boxes.append((pixels, prompt.label))
        else:
            x, y = prompt.value
            points.append(((x * width, y * height), prompt.label))
    return Finding(text, boxes, points, state["masks"], state["boxes"], state["scores"])


@dataclass(frozen=True)
class _Yardstick:
    """What a bundle's detections are compared with.

    Attributes:
        reference: the folder of what PyTorch finds in float32.
        peer: of what it finds in the bundle's precision, where that is another.
        rounded: the bundle's weights are rounded.
        random: the weights are random.
        shipped: the weights come with the project, and know drawn pictures alone.
    """

    reference: Path
    peer: Path | None
    rounded: bool
    random: bool
    shipped: bool

    def compare(self, ours: Detections, case: EndToEndCase, index: int) -> dict[str, Any]:
        """The report's figures for one round."""
        expected, _ = _stored(self.reference, case, index)
        known = case.picture == DRAWN or not self.shipped
        wanted = counted(case.empty, self.random, known)
        if self.rounded:
            return compare_rounded(ours, expected, wanted)
        if self.peer is None:
            return compare_detections(ours, expected, wanted)
        return compare_with_peer(ours, _stored(self.peer, case, index)[0], expected, wanted)


def _run_case(
    segmenter: Segmenter, case: EndToEndCase, yardstick: _Yardstick, results: Path
) -> list[dict[str, Any]]:
    """Compare one case round by round, and write what was found as pictures and JSON."""
    rows, findings = [], []
    picture = load_picture(case.picture)
    state = segmenter.set_image(picture)
    for index, prompts in enumerate(case.rounds):
        _, threshold = _stored(yardstick.reference, case, index)
        segmenter.reset_all_prompts(state)
        segmenter.set_confidence_threshold(threshold)
        for prompt in prompts:
            apply_prompt(segmenter, prompt, state)
        ours = Detections(state["masks"][:, 0], state["boxes"], state["scores"])
        findings.append(_finding(prompts, state))
        header = {
            "model": MODEL,
            "case": _name(case, index),
            "picture": case.picture,
            "prompt": _prompt_row(prompts),
            "threshold": threshold,
        }
        rows.append({**header, **yardstick.compare(ours, case, index)})
    pixels = np.asarray(picture.convert("RGB"))
    write_results(results / case.name, pixels, findings, {"picture": case.picture})
    return rows


def _name(case: EndToEndCase, index: int) -> str:
    """What a round of a case is called in the report."""
    return case.name if len(case.rounds) == 1 else f"{case.name}_{index + 1}"


def _failures(case: EndToEndCase, error: str) -> list[dict[str, Any]]:
    """The report's entries of a case that did not run, in the places of its rounds' own."""
    header = {"model": MODEL, "picture": case.picture}
    failed = {"passed": False, "detections": None, "error": error}
    return [{**header, "case": _name(case, i), **failed} for i in range(len(case.rounds))]


def compare_end_to_end(job: Job) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The report's end-to-end entries of the job's SAM3 bundle, and the models' weights.

    Overlays, masks and a ``result.json`` of each case are written to ``end_to_end/``. A case that
    does not run is an entry with its error.
    """
    reference, weights = _made(job, "float32")
    peer = None
    if job.precision != "float32":
        peer, _ = _made(job, job.precision, thresholds=reference)
    if not job.bundle_folder(MODEL).is_dir():
        missing = f"there is no bundle {job.bundle_folder(MODEL)}: run scripts/04_bundle.py first"
        rows = [row for case in CASES for row in _failures(case, missing)]
        return rows, {MODEL: weights}
    segmenter = Segmenter.load(job.bundle_folder(MODEL))
    checkpoint, shipped = job.source(MODEL).checkpoint, job.preset.shipped_weights(MODEL)
    yardstick = _Yardstick(
        reference,
        peer,
        rounded=job.weights == "int8",
        random=checkpoint is None,
        shipped=checkpoint is not None and checkpoint == shipped,
    )
    own = peer is None and not yardstick.rounded
    results = job.folder / ("end_to_end" if own else f"end_to_end-{job.build_name}")
    rows = []
    for case in tqdm(CASES, desc="end to end", unit="case"):
        try:
            rows += _run_case(segmenter, case, yardstick, results)
        except Exception as error:
            rows += _failures(case, one_line(error))
    return rows, {MODEL: weights}
