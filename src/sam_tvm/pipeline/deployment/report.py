"""targets_report.json and its readable twin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam_tvm.components.base import Component
from sam_tvm.pipeline import build, files
from sam_tvm.pipeline.deployment.table import ROWS
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.store import MissingArtifactError

# Not asked again while the library is the same; the others may have been mended by an installation.
_SETTLED = ("verified", "checked")
_MARKS = {"failed": "FAILED", "unsupported": "unsupported", "absent": "no such device here"}


def path(job: Job) -> Path:
    """Where the preset's report lies."""
    return job.folder / "targets_report.json"


def read(job: Job) -> list[dict[str, Any]]:
    """The report's entries, none where there is no report."""
    try:
        return json.loads(path(job).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []


def find(job: Job, component: str, target: str, precision: str) -> dict[str, Any] | None:
    """The entry of a cell."""
    wanted = (component, target, precision)
    return next((entry for entry in read(job) if _key(entry) == wanted), None)


def is_current(job: Job, component: Component, entry: dict[str, Any]) -> bool:
    """Whether a cell's checks have passed for the library that would be built now."""
    stage = build.stage_name(job)
    store = job.store(component)
    if entry["status"] not in _SETTLED or entry["reason"]:
        return False
    try:
        if not store.is_current(stage, build.library_key(job, component)):
            return False
    except MissingArtifactError:  # the build says what is missing
        return False
    record = store.record(stage) or {}
    return record["files"][record["library"]]["sha256"] == entry["key"]


def update(job: Job, entry: dict[str, Any]) -> None:
    """Put one entry into the report, in the table's order, and write both forms."""
    kept = [former for former in read(job) if _key(former) != _key(entry)]
    order = {row.name: position for position, row in enumerate(ROWS)}
    entries = sorted(
        [*kept, entry], key=lambda e: (e["model"], e["component"], order.get(e["target"], 99))
    )
    files.write_json(path(job), entries)
    files.write_text(path(job).with_suffix(".md"), as_markdown(job, entries))


def summary(entries: Iterable[dict[str, Any]]) -> str:
    """How many cells have which status."""
    counts = Counter(entry["status"] for entry in entries)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def as_markdown(job: Job, entries: list[dict[str, Any]]) -> str:
    """The report for reading: a table of components and targets, and what lies behind its words."""
    columns = dict.fromkeys((e["target"], e["precision"]) for e in _in_order(entries))
    cells = {_key(entry): entry for entry in entries}
    names = dict.fromkeys(entry["component"] for entry in entries)
    lines = [
        f"# Targets: {job.preset.name}",
        "",
        f"{summary(entries)}. `verified`: ran and agrees with PyTorch. `checked`: its file was held"
        " against its target by other tools. `compiled`: nothing here could look at it.",
        "",
        "| component | " + " | ".join(f"{name} {precision}" for name, precision in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in names:
        row = [_word(cells.get((name, *column))) for column in columns]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    lines += ["", "| target | what was checked, and what not |", "|---|---|"]
    for column in columns:
        own = [e for e in entries if (e["target"], e["precision"]) == column]
        said = dict.fromkeys(_general(c) for e in own for c in e["checks"])
        said |= dict.fromkeys(e["reason"] for e in own if e["reason"])
        lines.append(f"| {' '.join(column)} | " + "; ".join(said) + " |")
    return "\n".join(lines) + "\n"


def _in_order(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = {row.name: position for position, row in enumerate(ROWS)}
    return sorted(entries, key=lambda e: (order.get(e["target"], 99), e["precision"] != "float32"))


def _general(check: str) -> str:
    """A check without the numbers of one component."""
    return check.split(",")[0] if not check.startswith("ran") else check.split(":")[0]


def _word(entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "-"
    return _MARKS.get(entry["status"], entry["status"])


def _key(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["component"], entry["target"], entry["precision"]
