"""Asking for the reference's outputs: cached, and made by `reference_worker` where they are not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.components.base import Case, Component
from sam_tvm.models.sam3.weights import weights_identity
from sam_tvm.pipeline import files, keys
from sam_tvm.pipeline.job import Job

WORKER = "sam_tvm.pipeline.reference_worker"
RESULT = "result.json"
MARK = "key"  # beside a component's cases: what they were made from


class WorkerError(Exception):
    """A worker process ended without a result."""


def run_worker(module: str, request: dict[str, Any]) -> None:
    """Run a worker module on a request, its progress on our stderr.

    Raises:
        WorkerError: if it ends with a non-zero status.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        # The terminal interrupts both processes: the worker ignores it, as it inherits here, and
        # is ended by this one.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = subprocess.Popen([sys.executable, "-m", module, str(path)])
        finally:
            signal.signal(signal.SIGINT, handler)
        with process:
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                raise
    if status:
        raise WorkerError(f"{module} ended with status {status}")


@dataclass(frozen=True)
class Reference:
    """Outputs of the reference (float32) or the referee (float64), by component and case."""

    folder: Path
    weights: dict[str, Any]
    errors: dict[str, str]

    def outputs(self, component: Component, case: Case) -> dict[str, np.ndarray]:
        """Outputs of one case by name."""
        with np.load(self.folder / component.name / f"{case.name}.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}


def _key(job: Job, component: Component) -> str:
    weights = weights_identity(job.checkpoint, job.seed)
    worker = "pipeline/reference_worker.py"
    return keys.reference_key(component.name, job.config(component), weights, worker)


def _is_current(folder: Path, component: Component, key: str) -> bool:
    """Whether a component's cases were all made from `key`."""
    mark = folder / component.name / MARK
    return (
        mark.is_file()
        and mark.read_text(encoding="utf-8") == key
        and all(
            (folder / component.name / f"{case.name}.npz").is_file() for case in component.cases
        )
    )


def request(job: Job, folder: Path, **more: Any) -> dict[str, Any]:
    """What every worker is asked: preset and weights of the job, where to write, and `more`."""
    return {
        "preset": job.preset.name,
        "checkpoint": str(job.checkpoint) if job.checkpoint else None,
        "seed": job.seed,
        "output": str(folder),
        **more,
    }


def ask(job: Job, selected: Sequence[Component], precision: str) -> Reference:
    """The reference's outputs for all cases of the selected components.

    What an earlier run has made from the same modules and weights is taken as it is, so a long
    run can be resumed.

    Args:
        job: preset, weights and folders.
        selected: the components.
        precision: ``float32`` for the reference, ``float64`` for the referee, ``bfloat16`` for
            torch's autocast.
    """
    folder = job.folder / "reference" / precision
    current = {component.name: _key(job, component) for component in selected}
    missing = [c for c in selected if not _is_current(folder, c, current[c.name])]
    if missing:
        for component in missing:  # an interrupted worker leaves fresh cases among former ones
            (folder / component.name / MARK).unlink(missing_ok=True)
        names = [component.name for component in missing]
        run_worker(WORKER, request(job, folder, precision=precision, components=names))
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    for component in missing:
        if component.name not in result["errors"]:
            files.write_text(folder / component.name / MARK, current[component.name])
    failed = {component.name for component in missing} & set(result["errors"])
    errors = {name: result["errors"][name] for name in sorted(failed)}
    return Reference(folder, result["weights"], errors)
