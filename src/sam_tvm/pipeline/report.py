"""verification_report.json and its readable twin."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam_tvm.components import MODELS
from sam_tvm.pipeline import files
from sam_tvm.pipeline.job import Job, reference_versions, version
from sam_tvm.pipeline.metrics import ATOL, REFEREE_FACTOR, RTOL
from sam_tvm.pipeline.reconstruction.report import reconstruction_lines

DEFAULT_BUILD = "llvm-float32"


def report_path(job: Job) -> Path:
    """Where the job's report lies: the plain name is float32 on llvm."""
    suffix = "" if job.build_name == DEFAULT_BUILD else f"-{job.build_name}"
    return job.folder / f"verification_report{suffix}.json"


def read_report(job: Job) -> dict[str, Any]:
    """The report as it stands, empty where there is none."""
    try:
        return json.loads(report_path(job).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # no JSON, or no text at all
        return {}


def _merge(
    former: Iterable[dict[str, Any]], fresh: Iterable[dict[str, Any]], key: str
) -> list[dict[str, Any]]:
    """Former entries with the fresh ones in place of those of the same name."""
    return list({**{e[key]: e for e in former}, **{e[key]: e for e in fresh}}.values())


def update_report(
    job: Job,
    components: list[dict[str, Any]] | None = None,
    end_to_end: list[dict[str, Any]] | None = None,
    weights: dict[str, Any] | None = None,
    quality: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge fresh entries into the job's report and write both forms; returns the report.

    Entries of components that were not part of this run stay, unless the weights of their model
    have changed. `quality` is the content of SAM3's quality_report.json.
    """
    former = read_report(job)
    model_weights = {**former.get("weights", {}), **(weights or {})}
    changed = {
        model for model, was in former.get("weights", {}).items() if was != model_weights[model]
    }
    for kind in ("components", "end_to_end"):
        kept = [entry for entry in former.get(kind, []) if entry["model"] not in changed]
        former = {**former, kind: kept}
    report = {
        "preset": job.preset.name,
        "target": job.target,
        "precision": job.precision,
        "weights": model_weights,
        "versions": {**former.get("versions", {}), **_versions(job)},
        "tolerance": {"rtol": RTOL, "atol": ATOL},
        "components": _merge(former.get("components", []), components or [], "name"),
        "end_to_end": _merge(former.get("end_to_end", []), end_to_end or [], "case"),
    }
    former_quality = None if "sam3" in changed else former.get("quality")
    if judged := quality or former_quality:
        report["quality"] = judged
    path = report_path(job)
    files.write_json(path, report)
    files.write_text(path.with_suffix(".md"), as_markdown(report))
    return report


def _versions(job: Job) -> dict[str, str]:
    """Versions of what made and judged the entries."""
    known = reference_versions(*job.models)
    del known["torchvision"]  # its operators are declared, none of its code runs
    return {**known, **{name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")}}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def _component_lines(entry: dict[str, Any]) -> list[str]:
    if entry["error"]:
        return [f"| {entry['name']} | FAILED | | {entry['error']} | | | |"]
    lines = []
    for output in entry["outputs"]:
        result = output["passed_by"] or f"FAILED {output.get('reason', '')}".strip()
        figures = (output["max_abs_error"], output["mean_abs_error"])
        referee = (output["error_vs_float64"], output["torch_error_vs_float64"])
        cells = [
            entry["name"],
            result,
            output["case"],
            f"{output['name']} {tuple(output['shape'])}",
            *(_number(value) for value in (*figures, *referee)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _overlap(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _end_to_end_line(entry: dict[str, Any]) -> str:
    result = "passed" if entry["passed"] else f"FAILED {entry.get('reason', entry.get('error'))}"
    cells = [
        entry["case"],
        result,
        str(entry.get("detections")),
        _overlap(entry.get("mask_iou_min")),
        _overlap(entry.get("torch_mask_iou_min")),
        _number(entry.get("max_box_error_px")),
        _number(entry.get("max_score_error")),
    ]
    return "| " + " | ".join(cells) + " |"


def quality_lines(quality: dict[str, Any] | None) -> list[str]:
    """What was found in drawn scenes, as a section of the readable report; nothing for None."""
    if quality is None:
        return []
    names = list(next(iter(quality["engines"].values())))
    return [
        "",
        "## Against what is really there",
        "",
        f"{quality['scenes']} drawn scenes that training never saw (seed {quality['seed']}), at"
        f" the threshold {quality['threshold']}, chosen on others. F1 at a mask IoU of 0.5; the"
        " mean IoU is over all objects asked for, a missed one counts as 0.",
        "",
        "| engine | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---|" + "---|" * len(names),
        *(
            f"| {engine} | " + " | ".join(f"{figures[name]:.3f}" for name in names) + " |"
            for engine, figures in quality["engines"].items()
        ),
    ]


def as_markdown(report: dict[str, Any]) -> str:
    """The report for reading."""
    weights = "; ".join(f"{model}: {w.get('source')}" for model, w in report["weights"].items())
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [
        f"# Verification: {report['preset']}, {report['target']}, {report['precision']}",
        "",
        f"Weights: {weights}. Versions: {versions}.",
        "",
        f"An output passes by `tolerance` (rtol = atol = {RTOL:g} against PyTorch float32) or by"
        f" `float64` (its largest error against the float64 referee is at most"
        f" {REFEREE_FACTOR:g} times PyTorch's own).",
        "",
        "| component | passed by | case | output | max error | mean error"
        " | vs float64 | PyTorch vs float64 |",
        "|---|---|---|---|---|---|---|---|",
        *(line for entry in report["components"] for line in _component_lines(entry)),
    ]
    rows = {model: [r for r in report["end_to_end"] if r["model"] == model] for model in MODELS}
    if rows["sam3"]:
        lines += [
            "",
            "## End to end, against Sam3Processor",
            "",
            "| case | result | detections | lowest mask IoU | of PyTorch in this precision"
            " | box error, px | score error |",
            "|---|---|---|---|---|---|---|",
            *(_end_to_end_line(entry) for entry in rows["sam3"]),
        ]
    lines += quality_lines(report.get("quality"))
    lines += reconstruction_lines(rows["sam3d"])
    return "\n".join(lines) + "\n"
