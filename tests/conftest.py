"""One port of the tiny preset for the whole session, in the repository's own artifact cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import runpy
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Take interrupts even where the tests run in the background, whose SIGINT is ignored."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture(scope="session", autouse=True)
def verified_bundles(tmp_path_factory):
    """Keep the notes on bundles that were hashed out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM_TVM_CACHE", str(tmp_path_factory.mktemp("verified")))
        yield


@pytest.fixture(scope="session", autouse=True)
def in_this_process():
    """Let stages run here unless a test says `--processes`: others would not see its patches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam_tvm.pipeline.options.available_cpus", lambda: 1)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def job():
    """The tiny port: SAM3's components with random weights, on this CPU."""
    from sam_tvm.models.presets import get_preset
    from sam_tvm.pipeline.job import Job

    return Job(preset=get_preset("tiny"), artifacts=REPOSITORY / "artifacts")


@pytest.fixture(scope="session")
def ported(job, tmp_path_factory):
    """The job after all stages; what `make port` has made and is up to date is taken as it is.

    Where several processes run the tests, the first to come here ports, the others wait.
    """
    from sam_tvm.pipeline import commands

    if "PYTEST_XDIST_WORKER" not in os.environ:
        assert commands.port(job) == 0
        return job
    shared = tmp_path_factory.getbasetemp().parent  # of this run's processes
    with (shared / "port.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "ported").exists():
            assert commands.port(job) == 0
            (shared / "ported").touch()
    return job


@pytest.fixture(scope="session")
def bundle(ported) -> Path:
    """The tiny SAM3 bundle."""
    return ported.bundle_folder("sam3")


@pytest.fixture
def copied(ported, tmp_path):
    """Copy folders of the tiny port, which a test may then damage; returns the copy's job."""

    def copy(*folders: str):
        job = replace(ported, artifacts=tmp_path / "artifacts")
        for folder in folders:
            shutil.copytree(ported.folder / folder, job.folder / folder)
        return job

    return copy


@pytest.fixture(scope="session")
def run_script():
    """Run a script of `scripts/` in this process, and return its exit status."""
    from sam_tvm.console import run

    def call(name: str, *arguments: str) -> int:
        script = runpy.run_path(str(REPOSITORY / "scripts" / name))
        return run(lambda: script["main"](arguments))

    return call


@pytest.fixture(scope="session")
def contents():
    """Hash every file of a folder, by path; a folder that does not exist has none."""

    def read(folder: Path) -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def wheel(repository, tmp_path_factory) -> Path:
    """The wheel, built from a copy of the tree: building leaves files beside the sources."""
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(repository / name, tree)
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "patches"):
        shutil.copytree(repository / name, tree / name, ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    # The build backend of this environment, so that nothing is fetched.
    command += ["--no-build-isolation", "--wheel-dir", folder, tree]
    subprocess.run(command, check=True)
    (path,) = folder.iterdir()
    return path
