"""Running a stage over components: progress, skipping, failures that name their component."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from tqdm import tqdm

from sam_tvm.pipeline import processes
from sam_tvm.pipeline.store import OUTSIDE_ERRORS, MissingArtifactError
from sam_tvm.runtime.errors import UserError


class Named(Protocol):
    """What a stage works on."""

    @property
    def name(self) -> str:
        """What it is called in what the stage prints."""


@dataclass(frozen=True)
class Outcome:
    """How a stage went for one component: error is None, or one line."""

    name: str
    skipped: bool = False
    error: str | None = None


def one_line(error: BaseException) -> str:
    """Type and first line of an error's message."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if not isinstance(error, UserError) else first


def attempt(name: str, work: Callable[[], bool]) -> Outcome:
    """Run `work`, which returns whether there was anything to do; its failure is an outcome.

    What lies outside of it (`OUTSIDE_ERRORS`) is raised, but for a missing earlier stage.
    """
    try:
        return Outcome(name, skipped=not work())
    except MissingArtifactError as error:
        return Outcome(name, error=one_line(error))
    except OUTSIDE_ERRORS:
        raise
    except Exception as error:
        tqdm.write(traceback.format_exc(), file=sys.stderr)
        return Outcome(name, error=one_line(error))


def run_stage(
    title: str,
    items: Sequence[Named],
    is_current: Callable[[Any], bool],
    begin: processes.Begin,
    count: int,
) -> list[Outcome]:
    """Work on each item; one that fails does not stop the others.

    Args:
        title: of the progress bar.
        items: components, or what else has a name.
        is_current: whether there is nothing to do for an item.
        begin: returns within its scope what works on an item.
        count: of processes; with 1 this one does the work. With more, the items and `begin` are
            pickled, and the last items, which are the largest, are taken up first.
    """
    outcomes = {
        item.name: Outcome(item.name, skipped=True) for item in items if _passes(is_current, item)
    }
    with tqdm(total=len(items), desc=title, unit="component") as bar:
        bar.update(len(outcomes))
        rest = [item for item in items if item.name not in outcomes]

        def started(now: Sequence[Named]) -> None:
            bar.set_postfix_str(", ".join(item.name for item in now))

        for outcome in _outcomes(rest, begin, count, started):
            outcomes[outcome.name] = outcome
            bar.update()
    return [outcomes[item.name] for item in items]


def _passes(is_current: Callable[[Any], bool], item: Named) -> bool:
    try:
        return is_current(item)
    except MissingArtifactError:  # which is said when the item is worked on
        return False


def _outcomes(
    items: Sequence[Named],
    begin: processes.Begin,
    count: int,
    started: Callable[[Sequence[Named]], None],
) -> Iterator[Outcome]:
    """The outcomes as they come."""
    if not items:
        return
    if count == 1 or len(items) < 2:
        with begin() as work:
            for item in items:
                started([item])
                yield attempt(item.name, partial(work, item))
        return
    backwards = items[::-1]
    results = processes.each(partial(_attempting, begin), backwards, count, started)
    for index, result in results:
        name = backwards[index].name
        lost = isinstance(result, processes.ProcessEndedError)
        yield Outcome(name, error=one_line(result)) if lost else result


@contextmanager
def _attempting(begin: processes.Begin) -> Iterator[Callable[[Named], Outcome]]:
    with begin() as work:
        yield lambda item: attempt(item.name, partial(work, item))


def summarise(title: str, outcomes: Iterable[Outcome]) -> int:
    """Print a line for each outcome; exit status 1 if one failed."""
    outcomes = list(outcomes)
    for outcome in outcomes:
        state = "current" if outcome.skipped else "done"
        if outcome.error:
            state = f"FAILED  {outcome.error}"
        print(f"{title} {outcome.name}: {state}")
    return int(any(outcome.error for outcome in outcomes))
