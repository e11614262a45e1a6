"""Fixtures for the tests of the patches."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sam_tvm.patches.environment import reference_environment

sys.path.insert(0, str(Path(__file__).parent))  # for patch_support


@pytest.fixture
def reference() -> Iterator[None]:
    """Hold the environment of the unpatched reference."""
    with reference_environment():
        yield
