"""The table of components and targets: which cells there are, and going through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from sam_tvm.components.base import Component
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.deployment import report
from sam_tvm.pipeline.deployment.cell import code_generator_error, compile_cell, empty_cell
from sam_tvm.pipeline.deployment.table import Row
from sam_tvm.pipeline.job import Job
from sam_tvm.runtime.errors import UserError


def compile_for_targets(job: Job, rows: tuple[Row, ...]) -> int:
    """Fill the cells of the job's components and `rows`; writes the report after each.

    What was built and has not changed is not built again, and a file whose checks passed is not
    checked again. Returns 1 if a cell of the report failed, else 0.
    """
    cells = [
        (component, row, precision)
        for row in rows
        for precision in row.precisions
        for component in job.components
    ]
    reasons = {row.name: _not_here(row) for row in rows}
    with tqdm(cells, desc="targets", unit="cell") as bar:
        for component, row, precision in bar:
            bar.set_postfix_str(f"{component.name} for {row.name}")
            own = replace(job, target=row.target, precision=precision, components=(component,))
            entry = _cell(own, component, row, reasons[row.name])
            report.update(job, entry)
            if entry["status"] == "failed":
                tqdm.write(f"{component.name} for {row.name} {precision}: FAILED {entry['reason']}")
    entries = list(_selected(report.read(job), job, rows))
    print(report.summary(entries))
    print(f"report: {report.path(job)}")
    return int(any(entry["status"] == "failed" for entry in entries))


def _not_here(row: Row) -> tuple[str, str] | None:
    """Why no cell of a row can be compiled on this machine, and the status that this is."""
    try:
        targets.resolve(row.target)
    except UserError as error:
        return "absent", str(error)
    error = code_generator_error(row)
    return ("unsupported", error) if error else None


def _cell(
    job: Job, component: Component, row: Row, reason: tuple[str, str] | None
) -> dict[str, Any]:
    if reason is not None:
        return empty_cell(job, component, row, *reason)
    former = report.find(job, component.name, row.name, job.precision)
    if former and report.is_current(job, component, former):
        return former
    return compile_cell(job, component, row)


def _selected(entries: list[dict[str, Any]], job: Job, rows: tuple[Row, ...]) -> Iterator[Any]:
    names, known = {row.name for row in rows}, {part.name for part in job.components}
    return (e for e in entries if e["target"] in names and e["component"] in known)
