"""Programs that look at a compiled file, and what to install where one is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sam_tvm.runtime.errors import UserError

SECONDS = 600


class MissingToolError(UserError):
    """A check is not possible here; the message says what it needs."""


class CheckError(Exception):
    """A file is not what it should be."""


def find(name: str, remedy: str) -> str:
    """Path of a program.

    Raises:
        MissingToolError: it is not installed; `remedy` says how to.
    """
    path = shutil.which(name)
    if path is None:
        raise MissingToolError(f"needs {name} ({remedy})")
    return path


def output(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """What a program prints on stdout.

    Raises:
        CheckError: it failed or took too long; the message is the first line that says why.
    """
    try:
        done = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise CheckError(f"{Path(command[0]).name} took more than {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
        said = [line for line in lines if "error" in line.lower()] or lines[-1:]
        reason = said[0] if said else f"exit status {done.returncode}"
        raise CheckError(f"{Path(command[0]).name}: {reason}")
    return done.stdout
