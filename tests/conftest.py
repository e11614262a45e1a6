"""One port of the tiny preset for the whole session, in the repository's own artifact cache."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


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
def ported(job):
    """The job after all stages; what `make port` has made and is up to date is taken as it is."""
    from sam_tvm.pipeline import commands

    assert commands.port(job) == 0
    return job


@pytest.fixture(scope="session")
def bundle(ported) -> Path:
    """The tiny SAM3 bundle."""
    return ported.bundle_folder("sam3")
