"""The table in TODO.md: how far each component is at each preset, read from the reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sam_tvm import components
from sam_tvm.components.base import Component
from sam_tvm.models.presets import PRESETS
from sam_tvm.pipeline import build, export, importing
from sam_tvm.pipeline.files import write_text
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.report import read_report
from sam_tvm.runtime.errors import UserError

BEGIN, END = "<!-- port: begin -->", "<!-- port: end -->"
COLUMNS = ("exported", "imported", "built", "verified", "benchmarked")
DONE, OPEN, FAILED = "x", " ", "failed"


def _benchmarked(job: Job) -> dict[str, str]:
    """Cell of each row that the benchmark report has of TVM in float32."""
    path = job.folder / "benchmark_report.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    except (FileNotFoundError, ValueError, KeyError):  # no report, or not one that can be read
        return {}
    return {
        row["component"]: FAILED if row.get("error") else DONE
        for row in results
        if row["engine"] == "tvm" and row["precision"] == "float32"
    }


def component_cells(job: Job, component: Component) -> list[str]:
    """One component's cells at the job's preset, in the order of `COLUMNS`."""
    store = job.store(component)
    stages = (export.STAGE, importing.STAGE, build.stage_name(job))
    cells = [DONE if store.record(stage) else OPEN for stage in stages]
    entries = {entry["name"]: entry for entry in read_report(job).get("components", [])}
    entry = entries.get(component.name)
    cells.append(OPEN if entry is None else DONE if entry["passed"] else FAILED)
    cells.append(_benchmarked(job).get(component.name, OPEN))
    return cells


def _end_to_end_cells(job: Job, model: str) -> list[str]:
    rows = [row for row in read_report(job).get("end_to_end", []) if row["model"] == model]
    built = job.model_store(model).record(build.stage_name(job))
    verified = OPEN if not rows else DONE if all(row["passed"] for row in rows) else FAILED
    # SAM-3D-Objects is timed by component.
    benchmarked = _benchmarked(job).get("end_to_end", OPEN) if model == "sam3" else "-"
    return ["-", "-", DONE if built else OPEN, verified, benchmarked]


def table(job: Job) -> str:
    """The Markdown table over all presets."""
    jobs = [replace(job, preset=preset) for preset in PRESETS.values()]
    header = [f"{column} ({each.preset.name})" for each in jobs for column in COLUMNS]
    lines = [
        "| component | " + " | ".join(header) + " |",
        "|---" * (len(header) + 1) + "|",
    ]
    for component in components.components():
        cells = [cell for each in jobs for cell in component_cells(each, component)]
        lines.append(f"| {component.name} | " + " | ".join(cells) + " |")
    for model in components.MODELS:
        cells = [cell for each in jobs for cell in _end_to_end_cells(each, model)]
        lines.append(f"| {model} end to end | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def update_todo(path: Path, job: Job) -> None:
    """Write the table between the markers of `path`.

    Raises:
        UserError: if the file or its markers are missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        _, after = rest.split(END)
    except (FileNotFoundError, ValueError):
        raise UserError(f"{path} needs one {BEGIN} and one {END} around its table") from None
    write_text(path, f"{before}{BEGIN}\n{table(job)}\n{END}{after}")
