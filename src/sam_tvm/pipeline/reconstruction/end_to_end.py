"""The end-to-end comparison of SAM-3D-Objects: the bundle against the reference's modules.

Each case is run twice: stage by stage on the reference's own inputs (`FORCED`), and from the
picture to the outputs (`FREE`), then on the reference's voxels where only excluded logits differ.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from sam_tvm.models.weights import identity
from sam_tvm.pipeline import keys
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.reconstruction.cases import (
    CASES,
    FLOAT32,
    FORCED,
    FREE,
    INPUTS,
    Arrays,
    ReconstructionCase,
    chain_file,
    part,
    read_arrays,
)
from sam_tvm.pipeline.reconstruction.judging import judge_stage
from sam_tvm.pipeline.reconstruction.stages import STAGES, as_gaussians, as_reconstruction
from sam_tvm.pipeline.reference import request
from sam_tvm.pipeline.stage import one_line
from sam_tvm.pipeline.workers import ONE_THREAD, WorkerCall, run_workers
from sam_tvm.runtime.reconstruction.preview import preview
from sam_tvm.runtime.reconstruction.results import write_reconstruction
from sam_tvm.runtime.reconstructor import Reconstructor

MODEL = "sam3d"
WORKER = "sam_tvm.pipeline.reconstruction.worker"
WORKER_SOURCES = (
    "pipeline/reconstruction/worker.py",
    "pipeline/reconstruction/reference.py",
    "pipeline/reconstruction/stand_ins.py",
    "pipeline/reconstruction/cases.py",
    "pipeline/reference_worker.py",
    "pipeline/pictures.py",
)
MODES = {"forced": FORCED, "free": FREE}  # and the referee of each
COMPARISON = "comparison.png"  # ours above the reference's


@dataclass(frozen=True)
class _Reference:
    """What the reference gave of one case: the inputs, float32's arrays, the referee's by mode."""

    inputs: Arrays
    torch32: Arrays
    torch64: dict[str, Arrays]

    @classmethod
    def read(cls, folder: Path, case: str) -> _Reference:
        inputs, torch32, *referees = (
            read_arrays(chain_file(folder, chain, case))
            for chain in (INPUTS, FLOAT32, *MODES.values())
        )
        return cls(inputs, torch32, dict(zip(MODES, referees, strict=True)))


def _reference(job: Job) -> tuple[Path, list[WorkerCall]]:
    """Where the reference's arrays lie, and the worker that makes them if they are not there."""
    folder = job.folder / "reference" / f"{MODEL}_end_to_end"
    weights = identity(MODEL, job.preset, job.source(MODEL))
    key = keys.reference_key("end_to_end", MODEL, job.preset.sam3d, weights, *WORKER_SOURCES)
    result = folder / "result.json"
    if not result.is_file() or json.loads(result.read_text(encoding="utf-8"))["key"] != key:
        result.unlink(missing_ok=True)  # an interrupted worker leaves fresh cases among former ones
        return folder, [WorkerCall(WORKER, request(job, MODEL, folder, key=key), ONE_THREAD)]
    return folder, []


def reference_calls(job: Job) -> list[WorkerCall]:
    """The workers that a comparison of the job's bundle would wait for."""
    return [] if job.precision != "float32" else _reference(job)[1]


def run_stages(
    reconstructor: Reconstructor, reference: _Reference, mode: str
) -> tuple[dict[str, Any], Arrays]:
    """Run and judge the stages: the report's rows by stage, and what they gave.

    A stage that fails is a row with its error; so is, when running free, each stage after one
    that left nothing to go on with.
    """
    rows: dict[str, Any] = {}
    ours: Arrays = {}
    broken = None
    for name, stage in STAGES.items():
        if mode == "free" and broken:
            rows[name] = {"passed": False, "reason": f"not run: {broken} failed"}
            continue
        before = reference.torch32 if mode == "forced" else ours
        try:
            arrays = stage(reconstructor, {**reference.inputs, **before})
            judged = (arrays, part(reference.torch32, name), part(reference.torch64[mode], name))
            coords = reference.torch32["voxels.coords"]
            rows[name] = judge_stage(name, mode == "forced", judged, coords, reconstructor)
        except Exception as error:
            rows[name], broken = {"passed": False, "reason": one_line(error)}, name
            continue
        ours.update({f"{name}.{key}": value for key, value in arrays.items()})
        if name == "voxels" and mode == "free":
            broken = None if rows[name]["occupancy"]["passed"] else name
            ours["voxels.coords"] = reference.torch32["voxels.coords"]
    return rows, ours


def _compare_case(
    reconstructor: Reconstructor, case: ReconstructionCase, folder: Path, results: Path
) -> dict[str, Any]:
    """The report's entry of a case; its files are written to `results`."""
    reference = _Reference.read(folder, case.name)
    stages, free = {}, {}
    for mode in MODES:
        stages[mode], free = run_stages(reconstructor, reference, mode)
    failed = [
        f"{mode} {name}: {row['reason']}"
        for mode, rows in stages.items()
        for name, row in rows.items()
        if not row["passed"]
    ]
    row = {
        **_header(case),
        "passed": not failed,
        "voxels": len(reference.torch32["voxels.coords"]),
        "faces": len(reference.torch32["mesh.faces"]),
        "stages": stages,
        **({"reason": "; ".join(failed)} if failed else {}),
    }
    if all(f"{name}.positions" in free for name in ("gaussians", "gaussians_4")):
        _write_results(results / case.name, free, reference.torch32)
    return row


def _write_results(folder: Path, ours: Arrays, torch32: Arrays) -> None:
    """Write what was reconstructed, and a picture of it above the reference's."""
    write_reconstruction(folder, as_reconstruction(ours), {})
    rows = [
        preview(as_gaussians(part(arrays, name)))
        for name in ("gaussians", "gaussians_4")
        for arrays in (ours, torch32)
    ]
    Image.fromarray(np.concatenate(rows)).save(folder / COMPARISON)


def _header(case: ReconstructionCase) -> dict[str, Any]:
    return {"model": MODEL, "case": case.name, "picture": case.picture}


def _failure(case: ReconstructionCase, error: str) -> dict[str, Any]:
    """The report's entry of a case that did not run."""
    return {**_header(case), "passed": False, "voxels": None, "stages": {}, "error": error}


def compare_reconstructions(job: Job) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The report's end-to-end entries of the job's SAM-3D-Objects bundle, and its weights.

    What was reconstructed is written to ``end_to_end/``, with a picture beside the reference's. A
    case that does not run is an entry with its error. Other precisions than float32 have no
    entries: components are verified in them, the samplers' 50 steps are not.
    """
    if job.precision != "float32" or job.weights != "float":
        print(f"end to end {MODEL}: compared in float32 alone, not as {job.build_name}")
        return [], {}
    folder, calls = _reference(job)
    run_workers(calls, 1)
    weights = json.loads((folder / "result.json").read_text(encoding="utf-8"))["weights"]
    bundle = job.bundle_folder(MODEL)
    if not bundle.is_dir():
        problem = f"there is no bundle {bundle}: run scripts/04_bundle.py first"
        return [_failure(case, problem) for case in CASES], {MODEL: weights}
    reconstructor = Reconstructor.load(bundle)
    rows = []
    for case in tqdm(CASES, desc="end to end, 3D", unit="case"):
        try:
            rows.append(_compare_case(reconstructor, case, folder, job.folder / "end_to_end"))
        except Exception as error:
            rows.append(_failure(case, one_line(error)))
    return rows, {MODEL: weights}
