"""Asking for the reference's outputs: cached, and made by `reference_worker` where they are not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.components.base import Case, Component
from sam_tvm.models.weights import identity
from sam_tvm.pipeline import files, keys
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.workers import ONE_THREAD, WorkerCall, run_workers

WORKER = "sam_tvm.pipeline.reference_worker"
MARK = "key"  # beside a component's cases: what they were made from


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


def precisions(job: Job) -> tuple[str, ...]:
    """Those that a verification asks for: the reference's, the referee's and the job's own."""
    return tuple(dict.fromkeys(("float32", "float64", job.precision)))


class Question:
    """What the reference is asked: all cases of the selected components, in one precision.

    What an earlier run has made from the same modules and weights is taken as it is, so a long
    run can be resumed.

    Attributes:
        calls: of workers, to be run before the answer is read.
    """

    def __init__(self, job: Job, selected: Sequence[Component], precision: str) -> None:
        """Find out what is missing, and forget what is about to be made anew.

        Args:
            job: preset, weights and folders.
            selected: the components.
            precision: ``float32`` for the reference, ``float64`` for the referee, ``bfloat16``
                for torch's autocast.
        """
        self.folder = job.folder / "reference" / precision
        self.models = tuple(dict.fromkeys(component.model for component in selected))
        self._keys = {component.name: _key(job, component) for component in selected}
        missing = [c for c in selected if not _is_current(self.folder, c, self._keys[c.name])]
        for component in missing:  # an interrupted worker leaves fresh cases among former ones
            (self.folder / component.name / MARK).unlink(missing_ok=True)
        self.calls = [
            self._call(job, model, one_thread, names, precision)
            for (model, one_thread), names in _groups(missing, precision).items()
        ]

    def _call(
        self, job: Job, model: str, one_thread: bool, names: list[str], precision: str
    ) -> WorkerCall:
        result = self.folder / f"result-{model}{'-one-thread' if one_thread else ''}.new.json"
        more = {"precision": precision, "components": names, "result": str(result)}
        asked = request(job, model, self.folder, **more)
        return WorkerCall(WORKER, asked, ONE_THREAD if one_thread else {})

    def answer(self) -> Reference:
        """The reference's outputs, after the workers have run."""
        errors: dict[str, str] = {}
        for call in self.calls:
            result = Path(call.request["result"])
            made = _read(result)
            files.write_json(self._weights_file(call.request["model"]), made["weights"])
            errors |= made["errors"]
            for name in call.request["components"]:
                if name not in made["errors"]:
                    files.write_text(self.folder / name / MARK, self._keys[name])
            result.unlink()
        self.calls = []
        weights = {model: _read(self._weights_file(model)) for model in self.models}
        return Reference(self.folder, weights, dict(sorted(errors.items())))

    def _weights_file(self, model: str) -> Path:
        """What a model's weights were when its components ran last."""
        return self.folder / f"weights-{model}.json"


def ask(job: Job, selected: Sequence[Component], *precisions: str) -> dict[str, Reference]:
    """The reference's outputs for all cases of the selected components, by precision.

    See `Question`; the workers run up to ``job.processes`` at once.
    """
    questions = {precision: Question(job, selected, precision) for precision in precisions}
    run_workers([call for asked in questions.values() for call in asked.calls], job.processes)
    return {precision: asked.answer() for precision, asked in questions.items()}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
