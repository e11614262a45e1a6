"""The end-to-end rows of SAM-3D-Objects as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_COLUMNS = (
    "case | run | stage | result | max error | relative | vs float64 | PyTorch vs float64 | counts"
)


def reconstruction_lines(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown of the rows: the worst array of each stage, and what was counted."""
    if not entries:
        return []
    return [
        "",
        "## End to end, against the modules of SAM-3D-Objects",
        "",
        "`forced`: each stage on the reference's own inputs; `free`: from the picture to the"
        " outputs. Signs (occupied voxels, corners inside a mesh, squares' diagonals) may differ"
        " only where the float64 referee's value is within PyTorch's float32 error of zero: such"
        " values are excluded.",
        "",
        f"| {_COLUMNS} |",
        "|" + "---|" * (_COLUMNS.count("|") + 1),
        *(line for entry in entries for line in _lines(entry)),
    ]


def _lines(entry: dict[str, Any]) -> Iterator[str]:
    if "error" in entry:
        yield _line(entry["case"], "", "", f"FAILED {entry['error']}", "", "", "", "", "")
    for mode, stages in entry["stages"].items():
        for name, stage in stages.items():
            yield _stage_line(entry["case"], mode, name, stage)


def _stage_line(case: str, mode: str, name: str, stage: dict[str, Any]) -> str:
    outputs = stage.get("outputs", {}).values()

    def worst(figure: str) -> str:
        known = [value for row in outputs if (value := row.get(figure)) is not None]
        return f"{max(known):.2e}" if known else "-"

    passed_by = ", ".join(sorted({row["passed_by"] or "nothing" for row in outputs}))
    result = f"passed by {passed_by}" if stage["passed"] else f"FAILED {stage['reason']}"
    figures = ("max_abs_error", "max_relative_error", "error_vs_float64", "torch_error_vs_float64")
    return _line(case, mode, name, result, *map(worst, figures), _counts(stage))


def _counts(stage: dict[str, Any]) -> str:
    counts = []
    if occupancy := stage.get("occupancy"):
        counts += [f"{occupancy['voxels']} voxels of {occupancy['occupied']}", _signs(occupancy)]
    if "faces" in stage:
        beyond = stage["outputs"].get("vertices", {}).get("beyond_tolerance")
        counts += [f"{stage['faces']} faces", f"{beyond} vertices beyond 1e-5"]
        counts += [_signs(stage[kind]) for kind in ("distances", "splits") if stage.get(kind)]
    return "; ".join(counts)


def _signs(row: dict[str, Any]) -> str:
    return f"{row['excluded']} signs excluded, {row['flipped']} of them flipped"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
