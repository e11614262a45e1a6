"""How many operations each row of the report stands for: counted once and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sam_tvm import components
from sam_tvm.benchmark.flops import CountFlops
from sam_tvm.benchmark.process import TaskError
from sam_tvm.benchmark.workload import END_TO_END, SET_IMAGE, TEXT_PROMPT, Request
from sam_tvm.components.base import Component
from sam_tvm.components.graph import ComposedFunction
from sam_tvm.pipeline import keys
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.store import Store

STAGE = "flops"
# The composed functions that each step of the end-to-end run calls.
FUNCTIONS = {SET_IMAGE: ("encode_image",), TEXT_PROMPT: ("encode_text", "ground")}


def known_flops(
    job: Job,
    cases: Mapping[str, tuple[Component, str]],
    requests: Sequence[Request],
    run: Callable[[CountFlops], dict[str, int]],
) -> dict[str, int]:
    """Operations by component, counted now where they were not before.

    Args:
        job: where the counts are kept.
        cases: by name the components, and the case that each is run on.
        requests: how PyTorch runs each.
        run: runs the task that counts. Where that fails, its log says why; the engines are timed
            all the same.
    """
    stores = {name: Store(job.folder / "benchmark" / name) for name in cases}
    current = {name: _key(job, part, case) for name, (part, case) in cases.items()}
    missing = [name for name, store in stores.items() if not store.is_current(STAGE, current[name])]
    counts: dict[str, int] = {}
    if missing:
        with contextlib.suppress(TaskError):
            counts = run(CountFlops(tuple(each for each in requests if each.name in missing)))
    for name in counts:
        stores[name].commit(STAGE, current[name], partial(_return, {STAGE: counts[name]}), {})
    records = {name: store.record(STAGE) for name, store in stores.items()}
    return {name: record[STAGE] for name, record in records.items() if record}


def _return(facts: dict[str, int], _: Path) -> dict[str, int]:
    """For a record without files."""
    return facts


def _key(job: Job, part: Component, case: str) -> str:
    """The weights have no bearing on a count."""
    return keys.reference_key(part.name, part.model, job.config(part), case, "benchmark/flops.py")


def with_steps(counts: Mapping[str, int], functions: Sequence[ComposedFunction]) -> dict[str, int]:
    """The counts, and those of the end-to-end run and its steps where every part is known."""
    used = {function.name: components.used_components(function) for function in functions}
    found: dict[str, Any] = dict(counts)
    for step, names in FUNCTIONS.items():
        parts = [part for name in names for part in used[name]]
        if set(parts) <= counts.keys():
            found[step] = sum(counts[part] for part in parts)
    if FUNCTIONS.keys() <= found.keys():
        found[END_TO_END] = sum(found[step] for step in FUNCTIONS)
    return found
