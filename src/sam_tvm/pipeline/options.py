"""The options that the scripts and the command line share, and the job that they describe."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam_tvm import components
from sam_tvm.models.presets import Preset, get_preset
from sam_tvm.pipeline.job import DEFAULT_ARTIFACTS, PRECISIONS, STORED_WEIGHTS, Job
from sam_tvm.runtime.cpus import available_cpus
from sam_tvm.runtime.errors import UnknownNameError, UserError


def add_job_options(
    parser: argparse.ArgumentParser, *, weights: bool, target: bool, stored: bool = False
) -> None:
    """Add the options of a pipeline stage.

    Args:
        parser: to add to.
        weights: whether the stage reads weights from a checkpoint or a seed.
        target: whether it depends on the target and the precision.
        stored: whether it can do with weights that are stored rounded.
    """
    parser.add_argument("--preset", default="tiny", help="tiny (default) or full")
    parser.add_argument(
        "--only", nargs="+", metavar="COMPONENT", help="these components (default: all)"
    )
    parser.add_argument(
        "--artifacts", type=Path, default=DEFAULT_ARTIFACTS, help="default: artifacts"
    )
    parser.add_argument(
        "--drop", action="store_true", help="delete what the next stage no longer needs"
    )
    parser.add_argument(
        "--processes",
        type=int,
        help="that work at once, each on a component"
        " (default: one for each CPU at the tiny preset, else 1, for the memory's sake)",
    )
    if weights:
        parser.add_argument("--checkpoint", type=Path, help="SAM3's weights: Meta's file")
        parser.add_argument(
            "--checkpoint-3d", type=Path, help="SAM-3D-Objects' weights: Meta's folder"
        )
        parser.add_argument(
            "--seed",
            type=int,
            help="random weights of this seed (default: those that come with the preset, or of 0)",
        )
    if target:
        parser.add_argument(
            "--target", default="llvm", help='llvm (default), "llvm -mcpu=NAME", cuda, ...'
        )
        parser.add_argument("--precision", default="float32", help=", ".join(PRECISIONS))
        parser.add_argument(
            "--stock", action="store_true", help="TVM's default pipeline, to compare with"
        )
        parser.add_argument(
            "--untuned", action="store_true", help="without tuned functions, to compare with"
        )
    if stored:
        parser.add_argument(
            "--weights",
            default="float",
            choices=STORED_WEIGHTS,
            help="how matrices are stored: float (default), or int8, a quarter of the size",
        )


def add_archive_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of the stage that writes bundles."""
    parser.add_argument(
        "--archive", action="store_true", help="one file, an uncompressed tar, and not a folder"
    )


def _processes(asked: int | None, preset: Preset) -> int:
    """How many processes work at once."""
    if asked is None:
        return available_cpus() if preset.name == "tiny" else 1
    if asked < 1:
        raise UserError(f"--processes must be at least 1, not {asked}")
    return asked


def job_from_options(options: argparse.Namespace) -> Job:
    """The job that parsed options describe.

    Raises:
        UserError: for an unknown preset, component, precision or target, a checkpoint that is
            not there, or no process at all.
    """
    precision = getattr(options, "precision", "float32")
    if precision not in PRECISIONS:
        raise UnknownNameError(
            f"there is no precision {precision!r}; known precisions: {', '.join(PRECISIONS)}"
        )
    checkpoint = getattr(options, "checkpoint", None)
    if checkpoint is not None and not checkpoint.is_file():
        raise UserError(f"there is no checkpoint {checkpoint}: give the path of a file")
    folder = getattr(options, "checkpoint_3d", None)
    if folder is not None and not folder.is_dir():
        raise UserError(f"there is no checkpoint folder {folder}: give the one of pipeline.yaml")
    preset = get_preset(options.preset)
    job = Job(
        preset=preset,
        components=components.select(options.only),
        checkpoint=checkpoint,
        checkpoint_3d=folder,
        seed=getattr(options, "seed", None),
        target=getattr(options, "target", "llvm"),
        precision=precision,
        artifacts=options.artifacts,
        drop=options.drop,
        stock=getattr(options, "stock", False),
        weights=getattr(options, "weights", "float"),
        archive=getattr(options, "archive", False),
        tuned=not getattr(options, "untuned", False),
        processes=_processes(options.processes, preset),
    )
    if job.weights == "int8" and (job.stock or precision != "float32"):
        raise UserError("--weights int8 goes with --precision float32 and without --stock")
    if "target" in options:
        from sam_tvm.pipeline import targets  # loads TVM

        targets.check_precision(targets.resolve(job.target), job.precision)
    return job
