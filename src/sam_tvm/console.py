"""What every command does with its exit status and its errors."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from sam_tvm.interrupts import delivered, terminations
from sam_tvm.runtime.errors import UserError

FAILED = 1
BAD_INPUT = 2
NO_READER = 128 + 13  # what a shell says of a command that SIGPIPE ended

# What the system refuses through no fault of the program: no traceback helps there.
_REFUSED = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage and leaving."""
        raise UserError(f"{message} (see {self.prog} --help)")


def run(main: Callable[[], int]) -> int:
    """Run a command and turn its errors into one line on stderr and an exit status.

    Args:
        main: returns 0, or 1 where a component failed.

    Returns:
        What `main` returns; 2 for bad input, for what the system refuses (no permission, a full
        disk, no memory) and for an interrupt or SIGTERM; 141, without a word, where whoever reads
        the output has left (``| head``). Other exceptions are defects and pass through.

    """
    try:
        try:
            return _run(main)
        finally:
            sys.stdout.flush()  # else the interpreter does so at its end, and complains
    except BrokenPipeError:
        _discard_output()
        return NO_READER


def _run(main: Callable[[], int]) -> int:
    try:
        with delivered(), terminations():
            return main()
    except UserError as error:
        message = f"error: {_one_line(str(error))}"
    except KeyboardInterrupt:
        message = "interrupted"
    except MemoryError as error:
        message = f"error: not enough memory {_one_line(str(error))}".rstrip()
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = f": {error.filename}" if error.filename else ""
        message = f"error: {(error.strerror or str(error)).lower()}{where}"
    print(message, file=sys.stderr)
    return BAD_INPUT


def _discard_output() -> None:
    """Let what is still to be printed go nowhere, or flushing it at the end would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _one_line(text: str) -> str:
    return " ".join(text.split())
