"""What the tests of `sam_tvm.pipeline.processes` let processes do."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from sam_tvm.runtime.errors import UserError


@contextmanager
def doubling():
    yield lambda number: (2 * number, os.getpid())


@contextmanager
def failing():
    def work(number):
        if number == 1:
            raise UserError("1 will not do")
        return number

    yield work


@contextmanager
def crashing():
    def work(number):
        if number == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        return number

    yield work


class Writing:
    """Leaves a file while it works, and removes it when it ends, however that is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def __call__(self):
        def work(name):
            file = self.folder / name
            file.write_text(str(os.getpid()))
            try:
                time.sleep(120)
            finally:
                file.unlink()

        yield work
