"""One component for one target: compiled, saved, and proved as far as this machine can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import tvm

from sam_tvm.components.base import Component
from sam_tvm.pipeline import build, targets, verify
from sam_tvm.pipeline.deployment import binaries, emulation, kernels
from sam_tvm.pipeline.deployment.table import Row
from sam_tvm.pipeline.deployment.tools import CheckError, MissingToolError
from sam_tvm.pipeline.instructions import target_architecture
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.kernel_sources import NAMES
from sam_tvm.pipeline.stage import one_line
from sam_tvm.runtime.device import find_device
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.instructions import Requirements

# What a cell's status may be, best first. "compiled" is a file that nothing here could look at,
# "absent" a target that is this machine's and that it does not have.
STATUSES = ("verified", "checked", "compiled", "absent", "unsupported", "failed")


def compile_cell(job: Job, component: Component, row: Row) -> dict[str, Any]:
    """Build one component for one target and check the file.

    Args:
        job: with the target and the precision of the cell, and the weights that were exported.
        component: which.
        row: the target in the table.

    Returns:
        The report's entry.
    """
    started = time.perf_counter()
    entry = {**_name(job, component, row), "file": None, "bytes": 0, "key": None, "checks": []}
    outcome = build.build_components(replace(job, components=(component,)))[0]
    if outcome.error:
        return _finished(entry, "failed", outcome.error, started)
    record = job.store(component).record(build.stage_name(job)) or {}
    path = job.store(component).file(build.stage_name(job), record["library"], build.MADE_BY)
    about = record["files"][record["library"]]
    entry |= {"file": str(path), "bytes": about["bytes"], "key": about["sha256"]}
    missing = []
    for check in _checks(job, component, record["cpu"]):
        try:
            entry["checks"].append(check())
        except MissingToolError as error:
            missing.append(str(error))
        except (CheckError, UserError) as error:
            return _finished(entry, "failed", str(error), started)
    if any(said.startswith("ran") for said in entry["checks"]):
        return _finished(entry, "verified", "; ".join(missing), started)
    if missing:
        status = "checked" if entry["checks"] else "compiled"
        return _finished(entry, status, f"{status}, not all checked: {'; '.join(missing)}", started)
    return _finished(entry, "checked", "", started)


def _name(job: Job, component: Component, row: Row) -> dict[str, Any]:
    return {
        "model": component.model,
        "component": component.name,
        "target": row.name,
        "precision": job.precision,
    }


def empty_cell(
    job: Job, component: Component, row: Row, status: str, reason: str
) -> dict[str, Any]:
    """The entry of a cell that cannot be compiled here: "absent" or "unsupported"."""
    cell = {**_name(job, component, row), "file": None, "bytes": 0, "key": None, "checks": []}
    return cell | {"status": status, "reason": reason, "seconds": 0.0}


def _finished(entry: dict[str, Any], status: str, reason: str, started: float) -> dict[str, Any]:
    seconds = round(time.perf_counter() - started, 1)
    return {**entry, "status": status, "reason": reason, "seconds": seconds}


def _checks(job: Job, component: Component, cpu: dict[str, Any]) -> Iterator[Callable[[], str]]:
    """The checks of a cell's file: what it is, what its kernels are, what it computes."""
    target, store = targets.resolve(job.target), job.store(component)
    stage = build.stage_name(job)
    record = store.record(stage) or {}
    library = store.file(stage, record["library"], build.MADE_BY)
    host = target_architecture(targets.code_target(target))
    if library.suffix == ".so":
        yield lambda: binaries.check_shared_library(library, host)
    else:
        triple = str(targets.code_target(target).attrs["mtriple"])
        yield lambda: binaries.check_archive(library, triple)
    kind = str(target.kind.name)
    if kind in NAMES:
        source = store.file(stage, f"{job.build_name}/{NAMES[kind]}", build.MADE_BY)
        yield lambda: kernels.check_kernels(kind, source, target.attrs.get("arch"))
    if _runs_here(target, cpu):
        yield lambda: _verified(job, component, None)
    elif kind == "llvm" and library.suffix == ".so" and host == emulation.ARCHITECTURE:
        yield lambda: _verified(job, component, emulation.EmulatedLibrary)


def _runs_here(target: tvm.target.Target, cpu: dict[str, Any]) -> bool:
    if Requirements.from_json(cpu).unmet() is not None:
        return False
    try:
        find_device(str(target.kind.name))
    except UserError:
        return False
    return True


def _verified(job: Job, component: Component, runner: Callable[..., Any] | None) -> str:
    """Compare with PyTorch and the referee, as `verify_components.py` does."""
    (entry,), _ = verify.verify_components(replace(job, components=(component,)), runner)
    if entry["error"]:
        raise CheckError(entry["error"])
    worst = max(entry["outputs"], key=lambda output: output["max_abs_error"] or 0.0)
    failed = [output for output in entry["outputs"] if output["passed_by"] is None]
    if failed:
        raise CheckError(f"{failed[0]['case']}, {failed[0]['name']}: differs from PyTorch")
    how = f" under {emulation.EMULATOR}" if runner else ""
    return (
        f"ran{how}: {len(entry['outputs'])} outputs passed, "
        f"largest error {worst['max_abs_error']:.1e}"
    )


def code_generator_error(row: Row) -> str | None:
    """What this TVM says of a target for which it cannot compile anything; None if it can.

    It is asked for the smallest of functions, so that an error is its own.
    """
    target = targets.resolve(row.target)
    try:
        with target:
            tvm.compile(_increment(targets.is_device(target)), target)
    except Exception as error:  # whatever the code generator raises
        return one_line(error)
    return None


def _increment(on_device: bool) -> tvm.IRModule:
    """One added to 32 numbers, on 32 threads of a device."""
    x = tvm.te.placeholder((32,), "float32", name="x")
    y = tvm.te.compute((32,), lambda i: x[i] + 1.0, name="y")
    schedule = tvm.s_tir.Schedule(tvm.te.create_prim_func([x, y]))
    if on_device:
        (loop,) = schedule.get_loops(schedule.get_sblock("y"))
        schedule.bind(loop, "threadIdx.x")
    return schedule.mod
