"""Verification: every component's library against PyTorch and the float64 referee.

A bfloat16 build is judged by the referee: it may err as PyTorch's own autocast does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from sam_tvm.components.base import Component
from sam_tvm.components.inputs import make_inputs
from sam_tvm.pipeline import reference
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.library import Library
from sam_tvm.pipeline.metrics import as_row, compare
from sam_tvm.pipeline.stage import one_line

Inputs = Mapping[str, np.ndarray]
Runner = Callable[[Job, Component], Callable[[Inputs], list[np.ndarray]]]


def _compare_cases(
    job: Job,
    component: Component,
    references: Mapping[str, reference.Reference],
    runner: Runner,
) -> list[dict[str, Any]]:
    library, config = runner(job, component), job.config(component)
    names = [spec.name for spec in component.signature(config).outputs]
    rows = []
    for case in component.cases:
        actual = library(make_inputs(component, config, case))
        torch = {
            precision: answer.outputs(component, case) for precision, answer in references.items()
        }
        for name, array in zip(names, actual, strict=True):
            expected, referee = torch["float32"][name], torch["float64"][name]
            peer = torch[job.precision][name]
            comparison = compare(case.name, name, array, expected, referee, peer)
            rows.append({**as_row(comparison), "passed": comparison.passed})
    return rows


def _entry(component: Component, rows: list[dict[str, Any]], error: str | None) -> dict[str, Any]:
    return {
        "name": component.name,
        "model": component.model,
        "passed": error is None and all(row.pop("passed") for row in rows),
        "error": error,
        "outputs": rows,
    }


def verify_components(
    job: Job, runner: Runner | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The report's entries for the job's components, and by model what the weights were.

    `runner` loads a component's library, `Library` by default. A component that was not built or
    does not run is an entry with its error.
    """
    references = reference.ask(job, job.components, *reference.precisions(job))
    entries = []
    with tqdm(job.components, desc="verify", unit="component") as bar:
        for component in bar:
            bar.set_postfix_str(component.name)
            errors = (answer.errors.get(component.name) for answer in references.values())
            error = next(filter(None, errors), None)
            rows: list[dict[str, Any]] = []
            if error is None:
                try:
                    rows = _compare_cases(job, component, references, runner or Library)
                except Exception as failure:
                    error = one_line(failure)
            entries.append(_entry(component, rows, error))
    return entries, references["float32"].weights
