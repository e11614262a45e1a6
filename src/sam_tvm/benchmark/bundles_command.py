"""What `scripts/compare_bundles.py` runs: size, times, memory and masks of several bundles."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sam_tvm.benchmark.bundle_run import BundleRun, load_detections
from sam_tvm.benchmark.process import Limits, run_task
from sam_tvm.console import Parser
from sam_tvm.models.source import is_random
from sam_tvm.pipeline import files
from sam_tvm.pipeline.detections import best_ious
from sam_tvm.pipeline.pictures import DRAWN, load_picture
from sam_tvm.runtime.cpus import available_cpus
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.manifest import Manifest, read_manifest

PICTURES = (DRAWN,)
TEXTS = ("red circle", "star", "green cross")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run each bundle, write the report; returns the exit status."""
    options = _options(arguments)
    manifests = [read_manifest(bundle) for bundle in options.bundle]
    if {manifest.model for manifest in manifests} != {"sam3"}:
        raise UserError("only bundles of SAM3 can be compared: their masks are")
    limits = Limits(options.timeout, options.threads or available_cpus())
    with tempfile.TemporaryDirectory() as name:
        rows = _compare(manifests, options, limits, Path(name))
    report = {"preset": manifests[0].preset, "threads": limits.threads, "results": rows}
    path = options.report or options.bundle[0].parent.parent / "bundles_report.json"
    files.write_json(path, report)
    files.write_text(path.with_suffix(".md"), as_markdown(report))
    print(as_markdown(report), end="")
    print(f"report: {path}")
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    parser = Parser(description="Compare bundles of SAM3: size, times, memory, masks.")
    parser.add_argument(
        "bundle", type=Path, nargs="+", help="folders or archives; masks are compared to the first"
    )
    parser.add_argument("--picture", action="append", help="files, skimage.data names, or drawn")
    parser.add_argument("--text", action="append", help="prompts")
    parser.add_argument("--rounds", type=int, default=3, help="of each step (default 3)")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds of one process")
    parser.add_argument("--report", type=Path, help="default: beside the folder of the first")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        raise UserError(f"--rounds must be at least 1, not {options.rounds}")
    return options


def _compare(
    manifests: Sequence[Manifest], options: Any, limits: Limits, scratch: Path
) -> list[dict[str, Any]]:
    pictures = []
    for number, name in enumerate(options.picture or PICTURES):
        pictures.append(scratch / f"{number}.png")
        load_picture(name).convert("RGB").save(pictures[-1])
    texts, first, rows = tuple(options.text or TEXTS), None, []
    for number, manifest in enumerate(tqdm(manifests, desc="compare", unit="bundle")):
        found = scratch / str(number)
        found.mkdir()
        bundle = manifest.folder.resolve()
        random = is_random(manifest.raw["weights"]["source"])
        task = BundleRun(bundle, tuple(pictures), texts, options.rounds, found, first, random)
        times = run_task(task, limits, scratch / "log", TVM_USE_RUNTIME_LIB="1")
        first = first or found
        overlaps = [
            best_ious(load_detections(found / path.name), load_detections(path))
            for path in sorted(first.glob("*.npz"))
        ]
        whole = np.concatenate(overlaps)
        rows.append(
            {
                "name": manifest.folder.name,
                "bytes": sum(file.bytes for file in manifest.files.values()),
                "load_s": times.load_s,
                "picture_s": times.picture_s,
                "prompt_s": times.prompt_s,
                "peak_rss_gb": times.peak_rss_bytes / 1e9,
                "masks": len(whole),
                "mask_iou_mean": float(whole.mean()),
                "mask_iou_min": float(whole.min()),
            }
        )
    return rows


def as_markdown(report: dict[str, Any]) -> str:
    """The report for reading."""
    lines = [
        f"# Bundles: {report['preset']}",
        "",
        f"{report['threads']} threads. Masks: each of the first bundle's with the one of this "
        "bundle that overlaps it most.",
        "",
        "| bundle | MB | load s | picture s | prompt s | peak GB | masks | mean IoU | least IoU |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["results"]:
        cells = [
            row["name"],
            f"{row['bytes'] / 1e6:.1f}",
            *(f"{row[key]:.3f}" for key in ("load_s", "picture_s", "prompt_s")),
            f"{row['peak_rss_gb']:.2f}",
            str(row["masks"]),
            f"{row['mask_iou_mean']:.4f}",
            f"{row['mask_iou_min']:.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
