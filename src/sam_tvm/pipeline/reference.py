"""Asking for the reference's outputs: cached, and made by `reference_worker` where they are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.components.base import Case, Component
from sam_tvm.models.weights import identity
from sam_tvm.pipeline import files, keys
from sam_tvm.pipeline.job import Job

WORKER = "sam_tvm.pipeline.reference_worker"
MARK = "key"  # beside a component's cases: what they were made from
# spconv's CPU kernels are right only where OpenMP never had more than one thread.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


class WorkerError(Exception):
    """A worker process ended without a result."""


def run_worker(
    module: str, request: dict[str, Any], environment: Mapping[str, str] | None = None
) -> None:
    """Run a worker module on a request, its progress on our stderr.

    Args:
        module: what is run as ``python -m``.
        request: for the worker, as JSON.
        environment: variables that it gets beside ours.

    Raises:
        WorkerError: if it ends with a non-zero status.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", module, str(path)]
        # The terminal interrupts both processes: the worker ignores it, as it inherits here, and
        # is ended by this one.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = subprocess.Popen(command, env={**os.environ, **(environment or {})})
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
    """Outputs of the reference (float32) or the referee (float64), by component and case.

    Attributes:
        folder: where they lie.
        weights: by model, what its weights were.
        errors: by component, why it has no outputs.
    """

    folder: Path
    weights: dict[str, Any]
    errors: dict[str, str]

    def outputs(self, component: Component, case: Case) -> dict[str, np.ndarray]:
        """Outputs of one case by name."""
        with np.load(self.folder / component.name / f"{case.name}.npz") as arrays:
            return {name: arrays[name] for name in arrays.files}


def _key(job: Job, component: Component) -> str:
    weights = identity(component.model, job.preset, job.source(component.model))
    worker = "pipeline/reference_worker.py"
    config = job.config(component)
    return keys.reference_key(component.name, component.model, config, weights, worker)


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


def result_file(folder: Path, model: str) -> Path:
    """Where a worker writes what a model's weights were, and which components failed."""
    return folder / f"result-{model}.json"


def request(job: Job, model: str, folder: Path, **more: Any) -> dict[str, Any]:
    """What every worker is asked: preset, model and its weights, where to write, and `more`."""
    source = job.source(model)
    return {
        "preset": job.preset.name,
        "model": model,
        "checkpoint": str(source.checkpoint) if source.checkpoint else None,
        "seed": source.seed,
        "output": str(folder),
        **more,
    }


def _groups(missing: Sequence[Component], precision: str) -> dict[tuple[str, bool], list[str]]:
    """Names of components that one process may run, by model and whether it has one thread."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for component in missing:
        on_spconv = component.tensor_only is not None and precision == "float32"
        groups.setdefault((component.model, on_spconv), []).append(component.name)
    return groups


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
    for component in missing:  # an interrupted worker leaves fresh cases among former ones
        (folder / component.name / MARK).unlink(missing_ok=True)
    errors: dict[str, str] = {}
    for (model, one_thread), names in _groups(missing, precision).items():
        asked = request(job, model, folder, precision=precision, components=names)
        run_worker(WORKER, asked, ONE_THREAD if one_thread else None)
        errors |= _read(result_file(folder, model))["errors"]
        for name in names:
            if name not in errors:
                files.write_text(folder / name / MARK, current[name])
    models = dict.fromkeys(component.model for component in selected)
    weights = {model: _read(result_file(folder, model))["weights"] for model in models}
    return Reference(folder, weights, dict(sorted(errors.items())))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
