"""Tuning what the project's own kernels do not cover, for the machine that it runs on."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import tvm
from tqdm import tqdm
from tvm import tirx

from sam_tvm.components.base import Component
from sam_tvm.kernels.default import RULE, is_scheduled, schedule_function
from sam_tvm.kernels.target_features import vector_unit
from sam_tvm.pipeline import files, processes, targets
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.passes import loops
from sam_tvm.pipeline.prepare import prepare_component
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.runtime.errors import UserError
from sam_tvm.tuning import database as tuning
from sam_tvm.tuning import search
from sam_tvm.tuning.judge import Judgement, judge

FIRST = "vision_backbone"
OWN_KERNELS = ("matmul", "convolution")  # written for their operators: tuned only if asked for
CANDIDATES = 3  # that are compared with our rule
JUDGED = "judged.json"


@dataclass(frozen=True)
class Task:
    """A function to tune: where it was met first, its hash, and the rule that it has now."""

    name: str
    key: str
    function: tirx.PrimFunc
    rule: str

    @property
    def size(self) -> int:
        """Elements that it reads and writes, each once."""
        return sum(prod(int(size) for size in buffer.shape) for buffer in self.function.params)


@dataclass(frozen=True)
class Options:
    """How much to try.

    Attributes:
        minutes: after which no further candidates are tried.
        trials: candidates for a function.
        everything: also what the kernels of products and convolutions cover.
        seed: of the search.
        output: the file of the records; None: the package's for this machine.
    """

    minutes: float
    trials: int = 64
    everything: bool = False
    seed: int = 0
    output: Path | None = None


def tasks(job: Job, everything: bool) -> tuple[list[Task], int]:
    """What can be tuned, each function once, and how many functions cannot.

    Those of the vision backbone come first, then component by component, the largest before the
    smaller. A function whose shapes are not constant cannot be tuned.
    """
    found: dict[str, Task] = {}
    symbolic = 0
    for component in sorted(job.components, key=lambda part: part.name != FIRST):
        own, skipped = _tasks_of(job, component, everything)
        symbolic += skipped
        for task in sorted(own, key=lambda task: -task.size):
            found.setdefault(task.key, task)
    return list(found.values()), symbolic


def _tasks_of(job: Job, component: Component, everything: bool) -> tuple[list[Task], int]:
    target, found, symbolic = targets.resolve(job.target), [], 0
    with target, tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(loops())(prepare_component(job, component).module)
    for var, function in module.functions_items():
        if not isinstance(function, tirx.PrimFunc) or is_scheduled(function):
            continue
        rule = str(schedule_function(function, vector_unit(target)).attrs[RULE])
        if rule == "reshape" or (rule in OWN_KERNELS and not everything):
            continue
        if not all(map(_is_constant, function.params)):
            symbolic += 1
            continue
        name = f"{component.name}.{var.name_hint}"
        found.append(Task(name, tuning.function_key(function), function, rule))
    return found, symbolic


def _is_constant(param: tvm.ir.Var) -> bool:
    """Whether a parameter is a buffer of constant shape, and not a size."""
    return isinstance(param.ty, tirx.BufferType) and all(
        isinstance(size, tirx.IntImm) for size in param.shape
    )


def tune(job: Job, options: Options) -> int:
    """Tune, and write what won; returns the exit status.

    What was tried is kept in the artifacts: a run after an interrupt goes on there.

    Raises:
        UserError: if the target is not this machine, or what the search needs is not installed.
    """
    if importlib.util.find_spec("cloudpickle") is None:
        raise UserError("MetaSchedule needs cloudpickle: pip install 'sam-tvm[tune]'")
    target = targets.resolve(job.target)
    if tuning.Machine.of(target) != tuning.Machine.of(targets.resolve("llvm")):
        raise UserError(f"{job.target} is not this machine, and speed has to be measured on it")
    path = options.output or tuning.path_of(target)
    machine = tuning.Machine.of(target)
    known = tuning.read(path) if path.is_file() else tuning.Database(machine, {})
    if known.machine != machine:
        raise UserError(f"{path} is of another machine ({known.machine.mcpu}): give --output")
    work, symbolic = tasks(job, options.everything)
    deadline = time.monotonic() + 60 * options.minutes
    done = 0
    with tqdm(work, desc="tune", unit="function") as bar:
        for task in bar:
            bar.set_postfix_str(task.name)
            folder = job.folder / "tuning" / job.build_name / task.key
            judgement = tune_function(task, folder, options, target, deadline)
            if judgement is None:
                break
            known = known.with_record(task.key, judgement.record)
            tuning.write(known, path)
            done += 1
            tqdm.write(_line(task, judgement))
    print(
        f"{done} of {len(work)} functions tuned, {len(known.records)} records in {path};"
        f" {symbolic} have shapes that are not constant"
        + ("" if done == len(work) else "; run it again to go on")
    )
    return 0


def _line(task: Task, judgement: Judgement) -> str:
    if (record := judgement.record) is not None:
        verdict = f"tuned {record.tuned_ms:.4g} ms, error {record.max_error:.1e}"
    else:
        verdict = f"kept: {judgement.reason}"
    return f"tune {task.name}: {judgement.rule} {judgement.rule_ms:.4g} ms, {verdict}"


def tune_function(
    task: Task, folder: Path, options: Options, target: tvm.target.Target, deadline: float
) -> Judgement | None:
    """Search and judge; None if the time is over before the trials are."""
    while (missing := options.trials - search.tried(folder)) > 0:
        if time.monotonic() > deadline:
            return None
        before = search.tried(folder)
        seed = options.seed + before
        try:
            search.search(task.function, target, folder, min(missing, search.BATCH), seed)
        except (tvm.error.InternalError, RuntimeError, ValueError) as error:
            reason = f"the search failed: {str(error).strip().splitlines()[-1]}"
            tqdm.write(f"tune {task.name}: {reason}")
            break
        if search.tried(folder) == before:
            break  # there are no other loops
    return _judgement(task, folder, target)


def _judgement(task: Task, folder: Path, target: tvm.target.Target) -> Judgement:
    """The judgement of what was tried, which an earlier run may have made."""
    path, tried = folder / JUDGED, search.tried(folder)
    if path.is_file():
        former = json.loads(path.read_text(encoding="utf-8"))
        if former["tried"] == tried:
            return Judgement.from_json(former["judgement"])
    judgement = _judge(task, folder, target)
    files.write_json(path, {"tried": tried, "judgement": asdict(judgement)})
    return judgement


def _judge(task: Task, folder: Path, target: tvm.target.Target) -> Judgement:
    """Judge in a process of its own, which a candidate may take with it."""
    item = (
        task.name,
        tvm.ir.save_json(task.function),
        search.best(folder, CANDIDATES),
        dict(target.export()),
    )
    ((_, result),) = processes.each(_judging, [item], 1, lambda _: None)
    if isinstance(result, processes.ProcessEndedError):
        return Judgement(task.rule, float("nan"), None, str(result))
    return result


@contextmanager
def _judging() -> Iterator[Callable[[Any], Judgement]]:
    silence_harmless_warnings()

    def work(item: tuple[str, str, list[list[Any]], dict[str, Any]]) -> Judgement:
        name, function, traces, target = item
        return judge(name, tvm.ir.load_json(function), traces, tvm.target.Target(target))

    yield work
