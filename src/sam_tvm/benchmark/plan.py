"""What one benchmark is asked to do, and the options that say so."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

from sam_tvm import components
from sam_tvm.benchmark.cases import default_voxels
from sam_tvm.benchmark.engines import ENGINES, Engine, select
from sam_tvm.benchmark.workload import END_TO_END
from sam_tvm.pipeline.job import PRECISIONS, Job
from sam_tvm.pipeline.options import add_job_options, job_from_options
from sam_tvm.runtime.cpus import available_cpus
from sam_tvm.runtime.errors import UnknownNameError, UserError
from sam_tvm.runtime.sparse import VOXEL_LIMIT

ROUNDS, BUDGET_S, TIMEOUT_S = 3, 5.0, 900.0


@dataclass(frozen=True)
class Plan:
    """One benchmark.

    Attributes:
        job: components, preset, target and folders.
        kind: of the target: ``llvm`` for this CPU, else a GPU's.
        end_to_end: whether the end-to-end run is timed too.
        engines: ours first.
        precisions: of the engines.
        rounds: processes of each engine and workload.
        threads: of every engine.
        budget_s: seconds of timed runs in one process.
        timeout_s: seconds for one process, loading and compiling included.
        voxels: that components on sparse tensors are timed on.
    """

    job: Job
    kind: str
    end_to_end: bool
    engines: tuple[Engine, ...]
    precisions: tuple[str, ...]
    rounds: int
    threads: int
    budget_s: float
    timeout_s: float
    voxels: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the benchmark."""
    add_job_options(parser, weights=False, target=False)
    parser.add_argument(
        "--target", default="llvm", help='of TVM: llvm (default), "llvm -mcpu=NAME", cuda, ...'
    )
    # Not `precision`: that is a job's, which has one.
    parser.add_argument(
        *("--precision", "-p"),
        dest="precisions",
        nargs="+",
        default=["float32"],
        metavar="PRECISION",
        help=f"one or more of {', '.join(PRECISIONS)} (default: float32)",
    )
    parser.add_argument(
        *("--against", "-a"),
        nargs="*",
        metavar="ENGINE",
        help=f"beside tvm, of {', '.join(ENGINES)} (default: all)",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--threads", type=int, help="of every engine (default: all CPUs)")
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_S,
        metavar="SECONDS",
        help=f"of timed runs in one process; at least 3 runs (default: {BUDGET_S:g})",
    )
    parser.add_argument(
        "--voxels",
        type=int,
        metavar="N",
        help="that SAM-3D-Objects' sparse components are timed on (default: 10000 at the full"
        " preset, else 1000); another number has rows of its own in the report",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"for one process, loading and compiling included (default: {TIMEOUT_S:g})",
    )


def plan_from_options(options: argparse.Namespace) -> Plan:
    """The plan that parsed options describe.

    Raises:
        UserError: for an unknown name, or a number that is out of range.
    """
    end_to_end = _take_end_to_end(options)
    for precision in options.precisions:
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise UnknownNameError(
                f"there is no precision {precision!r}; known precisions: {known}"
            )
    threads = available_cpus() if options.threads is None else options.threads
    job = job_from_options(options)
    from sam_tvm.pipeline import targets  # loads TVM
    from sam_tvm.runtime.device import find_device

    target = targets.resolve(job.target)
    for precision in options.precisions:
        targets.check_precision(target, precision)
    find_device(str(target.kind.name))
    for name, value in (("rounds", options.rounds), ("threads", threads)):
        if value < 1:
            raise UserError(f"--{name} must be at least 1, not {value}")
    for name, value in (("budget", options.budget), ("timeout", options.timeout)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"--{name} must be a positive number of seconds, not {value:g}")
    voxels = default_voxels(job.preset.name) if options.voxels is None else options.voxels
    if not 1 <= voxels <= VOXEL_LIMIT:
        raise UserError(f"--voxels must be from 1 to {VOXEL_LIMIT}, not {voxels}")
    return Plan(
        job=job,
        kind=str(target.kind.name),
        end_to_end=end_to_end,
        engines=select(options.against),
        precisions=tuple(dict.fromkeys(options.precisions)),
        rounds=options.rounds,
        threads=threads,
        budget_s=options.budget,
        timeout_s=options.timeout,
        voxels=voxels,
    )


def _take_end_to_end(options: argparse.Namespace) -> bool:
    """Take `END_TO_END` out of the components' names; whether it is wanted."""
    if options.only is None:
        return True
    known = [component.name for component in components.components()]
    for name in options.only:
        if name not in (*known, END_TO_END):
            listing = ", ".join(sorted([*known, END_TO_END]))
            raise UnknownNameError(f"there is no component {name!r}; known components: {listing}")
    wanted = END_TO_END in options.only
    options.only = [name for name in options.only if name != END_TO_END]
    return wanted
