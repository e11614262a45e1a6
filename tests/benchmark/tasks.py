"""Tasks that the tests of `sam_tvm.benchmark.process` run in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Add:
    numbers: tuple[int, ...]

    def run(self, phase):
        phase("adding")
        print("some noise")
        return sum(self.numbers), os.environ["TVM_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]


@dataclass(frozen=True)
class Fail:
    message: str

    def run(self, phase):
        phase("failing")
        raise ValueError(self.message)


@dataclass(frozen=True)
class Crash:
    def run(self, phase):
        phase("crashing")
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)


@dataclass(frozen=True)
class Sleep:
    """Sleeps with a child that sleeps too; both write their process ids first."""

    folder: Path

    def run(self, phase):
        phase("sleeping")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (self.folder / "pids.part").write_text(f"{os.getpid()} {child.pid}")
        (self.folder / "pids.part").rename(self.folder / "pids")
        time.sleep(600)
