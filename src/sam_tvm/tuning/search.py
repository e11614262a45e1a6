"""MetaSchedule's search for one function, which can be resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.s_tir import meta_schedule as ms

from sam_tvm.runtime.cpus import available_cpus
from sam_tvm.tuning.apply import copied

BATCH = 16  # candidates that are compiled and run before the next are chosen
_RECORDS, _WORKLOADS = "database_tuning_record.json", "database_workload.json"
_FAILED = 1e9  # seconds; MetaSchedule writes 1e10 for a candidate that failed
_SECONDS = 300.0  # that a candidate may take, with the start of the process that compiles it


def tried(folder: Path) -> int:
    """How many candidates a folder's records hold, those that failed among them."""
    _mend(folder)
    path = folder / _RECORDS
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def search(
    function: tirx.PrimFunc, target: tvm.target.Target, folder: Path, trials: int, seed: int
) -> None:
    """Try `trials` more candidates; each is recorded in `folder` as soon as it was measured.

    Candidates are compiled and run in processes of their own: one that crashes or hangs is a
    record without a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _mend(folder)
    evaluator = ms.runner.EvaluatorConfig(number=1, repeat=3, min_repeat_ms=10)
    with _quiet():
        ms.tune_tir(
            copied(function),
            target=with_cores(target),
            work_dir=str(folder),
            max_trials_global=trials,
            num_trials_per_iter=min(trials, BATCH),
            builder=ms.builder.LocalBuilder(max_workers=1, timeout_sec=_SECONDS),
            runner=ms.runner.LocalRunner(evaluator_config=evaluator, timeout_sec=_SECONDS),
            cost_model="xgb" if importlib.util.find_spec("xgboost") else "random",
            # Too few to choose from are drawn at random: to evolve a population takes a minute.
            strategy="evolutionary" if trials >= BATCH else "replay-trace",
            num_tuning_cores=available_cpus(),
            seed=seed,
        )


def best(folder: Path, count: int) -> list[list[Any]]:
    """The steps of the fastest candidates, fastest first."""
    _mend(folder)
    if not (folder / _RECORDS).is_file():
        return []
    found = []
    for line in (folder / _RECORDS).read_text(encoding="utf-8").splitlines():
        _, (trace, seconds, *_) = json.loads(line)
        if seconds and (mean := sum(seconds) / len(seconds)) < _FAILED:
            found.append((mean, trace))
    found.sort(key=lambda pair: pair[0])
    return [trace for _, trace in found[:count]]


def with_cores(target: tvm.target.Target) -> tvm.target.Target:
    """The target with what MetaSchedule must know: how many cores share a loop."""
    config = {key: value for key, value in target.export().items() if key not in ("tag", "keys")}
    return tvm.target.Target({**config, "num-cores": available_cpus()})


def _mend(folder: Path) -> None:
    """Drop the line that a killed run was writing."""
    for name in (_RECORDS, _WORKLOADS):
        path = folder / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave the terminal to the progress bar."""
    logger = logging.getLogger("tvm.s_tir.meta_schedule")
    former = logger.level
    try:
        logger.setLevel(logging.ERROR)
        yield
    finally:
        logger.setLevel(former)
