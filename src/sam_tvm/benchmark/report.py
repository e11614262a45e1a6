"""benchmark_report.json, and its readable twins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_tvm import components
from sam_tvm.benchmark.engines import ENGINES
from sam_tvm.benchmark.markdown import as_markdown
from sam_tvm.benchmark.workload import END_TO_END, SET_IMAGE, TEXT_PROMPT
from sam_tvm.pipeline import files
from sam_tvm.pipeline.job import PRECISIONS, Job

NAME = "benchmark_report"
PEAKS = {"float32": "fma_peak_gflops", "bfloat16": "fma_peak_gflops_bfloat16"}
KEY = ("component", "engine", "precision")


def report_path(job: Job) -> Path:
    """Where the job's report lies: the plain name is for this CPU's own target."""
    target = job.build_name.removesuffix(f"-{job.precision}")
    return job.folder / f"{NAME}{'' if job.target == 'llvm' else f'-{target}'}.json"


def read_report(path: Path) -> dict[str, Any]:
    """The report as it stands, empty where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no JSON, or no text at all
        return {}


def merge(
    former: Sequence[dict[str, Any]], fresh: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Former rows with the fresh ones in place of those of equal `KEY`, in a fixed order."""
    rows = {tuple(row[name] for name in KEY): row for row in (*former, *fresh)}
    names = [*(part.name for part in components.components()), SET_IMAGE, TEXT_PROMPT, END_TO_END]
    orders = (names, list(ENGINES), list(PRECISIONS))

    def place(key: tuple[str, ...]) -> list[int]:
        return [
            order.index(value) if value in order else len(order)
            for order, value in zip(orders, key, strict=True)
        ]

    return [rows[key] for key in sorted(rows, key=place)]


def _comparable(former: dict[str, Any], header: dict[str, Any]) -> bool:
    """Whether former rows may stay: they are of the same weights, machine and threads."""
    if not former:
        return False
    machines = [
        {name: value for name, value in report["machine"].items() if name not in PEAKS.values()}
        for report in (former, header)
    ]
    known = former["weights"]
    same = all(known.get(model, weights) == weights for model, weights in header["weights"].items())
    return same and machines[0] == machines[1]


def _best_peaks(former: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
    """The header with the higher of both measured peaks: load can only lower what is measured."""
    machine = dict(header["machine"])
    for name in PEAKS.values():
        known = [m[name] for m in (former.get("machine", {}), machine) if m.get(name)]
        machine[name] = max(known, default=None)
    return {**header, "machine": machine}


def _with_peak_share(row: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    peak = machine[PEAKS[row["precision"]]]
    return {**row, "peak_share": row["gflops"] / peak if row["gflops"] and peak else None}


def update_report(path: Path, header: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge fresh rows into the report and write it, as JSON and as Markdown; returns it.

    Rows of other components and engines stay, unless machine, threads or weights differ.
    """
    former = read_report(path)
    if not _comparable(former, header):
        former = {}
    header = _best_peaks(former, header)
    header["weights"] = {**former.get("weights", {}), **header["weights"]}
    merged = merge(former.get("results", []), rows)
    results = [_with_peak_share(row, header["machine"]) for row in merged]
    report = {**header, "results": results}
    files.write_json(path, report)
    files.write_text(path.with_suffix(".md"), as_markdown(report))
    return report
