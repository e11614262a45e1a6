"""Running a stage over components: progress, skipping, failures that name their component."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from tqdm import tqdm

from sam_tvm.components.base import Component
from sam_tvm.pipeline.store import OUTSIDE_ERRORS, MissingArtifactError
from sam_tvm.runtime.errors import UserError


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
    title: str, components: Iterable[Component], work: Callable[[Component], bool]
) -> list[Outcome]:
    """Run `work` for each component; one that fails does not stop the others."""
    outcomes = []
    with tqdm(list(components), desc=title, unit="component") as bar:
        for component in bar:
            bar.set_postfix_str(component.name)
            outcomes.append(attempt(component.name, partial(work, component)))
    return outcomes


def summarise(title: str, outcomes: Iterable[Outcome]) -> int:
    """Print a line for each outcome; exit status 1 if one failed."""
    outcomes = list(outcomes)
    for outcome in outcomes:
        state = "current" if outcome.skipped else "done"
        if outcome.error:
            state = f"FAILED  {outcome.error}"
        print(f"{title} {outcome.name}: {state}")
    return int(any(outcome.error for outcome in outcomes))
