"""What `scripts/benchmark_start.py` runs: bundles and PyTorch in turn, and a report."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sam_tvm.benchmark.process import Limits, Task, run_task
from sam_tvm.benchmark.start import BundleStart, SavedCheckpoint, Start, TorchStart
from sam_tvm.console import Parser
from sam_tvm.models.presets import get_preset
from sam_tvm.pipeline import files
from sam_tvm.pipeline.job import DEFAULT_ARTIFACTS, Job
from sam_tvm.pipeline.pictures import DRAWN, load_picture
from sam_tvm.runtime.cpus import available_cpus
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.manifest import read_manifest

PARTS = ("imports", "model", "picture", "prompt")
TEXT, THRESHOLD = "red circle", 0.2
Make = Callable[[float], Task]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, measure, write the report; returns the exit status."""
    options = _options(arguments)
    folder = options.artifacts / get_preset(options.preset).name
    bundles = options.bundle or [folder / "bundles" / "sam3-llvm-float32"]
    for bundle in bundles:
        read_manifest(bundle)
    limits = Limits(options.timeout, options.threads or available_cpus())
    with tempfile.TemporaryDirectory(dir=folder, prefix=".start-") as name:
        scratch = Path(name)
        picture = scratch / "picture.png"
        load_picture(options.picture).convert("RGB").save(picture)
        makers = {
            str(bundle.name): _bundle_maker(bundle.resolve(), picture, options.verify)
            for bundle in bundles
        }
        if not options.no_torch:
            checkpoint = options.checkpoint or scratch / "sam3.pt"
            if options.checkpoint is None:
                source = Job(get_preset(options.preset)).source("sam3")
                task = SavedCheckpoint(options.preset, source, checkpoint)
                run_task(task, limits, scratch / "checkpoint.log")
            makers["PyTorch"] = _torch_maker(options.preset, checkpoint, picture, limits.threads)
        starts = _measure(makers, limits, options.rounds, scratch)
    report = {
        "preset": options.preset,
        "threads": limits.threads,
        "rounds": options.rounds,
        "results": [_row(name, found) for name, found in starts.items()],
    }
    path = folder / "start_report.json"
    files.write_json(path, report)
    files.write_text(path.with_suffix(".md"), as_markdown(report))
    print(as_markdown(report), end="")
    print(f"report: {path}")
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    parser = Parser(description="Time from the start of a process to its first mask.")
    parser.add_argument("--preset", default="tiny", help="tiny (default) or full")
    parser.add_argument(
        "--artifacts", type=Path, default=DEFAULT_ARTIFACTS, help="default: artifacts"
    )
    parser.add_argument(
        "--bundle", type=Path, action="append", help="folder or archive; may be repeated"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="PyTorch's weights: Meta's file (default: the preset's)"
    )
    parser.add_argument(
        "--picture", default=DRAWN, help="a file, a skimage.data name, or drawn (default)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn (default 5)")
    parser.add_argument("--threads", type=int, help="for both alike (default: all cores)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds of one process")
    parser.add_argument("--no-torch", action="store_true", help="time the bundles alone")
    parser.add_argument("--verify", action="store_true", help="hash the bundle at each start")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        raise UserError(f"--rounds must be at least 1, not {options.rounds}")
    return options


def _bundle_maker(bundle: Path, picture: Path, verify: bool) -> Make:
    return lambda started: BundleStart(
        started, bundle, picture, TEXT, THRESHOLD, True if verify else None
    )


def _torch_maker(preset: str, checkpoint: Path, picture: Path, threads: int) -> Make:
    return lambda started: TorchStart(
        started, preset, checkpoint, picture, TEXT, THRESHOLD, threads
    )


def _measure(
    makers: dict[str, Make], limits: Limits, rounds: int, scratch: Path
) -> dict[str, list[Start]]:
    """Start each in turn, never two at a time; a first round fills the caches and is left out."""
    starts: dict[str, list[Start]] = {name: [] for name in makers}
    with tqdm(total=(rounds + 1) * len(makers), desc="start", unit="process") as bar:
        for number in range(rounds + 1):
            for name, make in makers.items():
                bar.set_postfix_str(name)
                log = scratch / "start.log"
                start = run_task(make(time.time()), limits, log, TVM_USE_RUNTIME_LIB="1")
                if number:
                    starts[name].append(start)
                bar.update()
    return starts


def _row(name: str, starts: Sequence[Start]) -> dict[str, Any]:
    return {
        "name": name,
        "first_mask_s": statistics.median(start.total_s for start in starts),
        "first_mask_min_s": min(start.total_s for start in starts),
        "first_mask_max_s": max(start.total_s for start in starts),
        **{
            f"{part}_s": statistics.median(start.seconds[part] for start in starts)
            for part in PARTS
        },
        "cpu_s": statistics.median(start.cpu_s for start in starts),
        "peak_rss_gb": statistics.median(start.peak_rss_bytes for start in starts) / 1e9,
        "masks": starts[0].masks,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The report for reading."""
    lines = [
        f"# From the start of a process to the first mask: {report['preset']}",
        "",
        f"Medians of {report['rounds']} processes each, in turn, {report['threads']} threads, "
        "files in the system's cache. Seconds; the total's least and most in brackets.",
        "",
        "| | first mask | imports | model | picture | prompt | CPU time | peak GB | masks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["results"]:
        spread = f"{row['first_mask_min_s']:.2f} to {row['first_mask_max_s']:.2f}"
        cells = [
            row["name"],
            f"{row['first_mask_s']:.2f} ({spread})",
            *(f"{row[f'{part}_s']:.2f}" for part in PARTS),
            f"{row['cpu_s']:.2f}",
            f"{row['peak_rss_gb']:.2f}",
            str(row["masks"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
