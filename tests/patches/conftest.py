"""Fixtures for the tests of the patches."""

from collections.abc import Iterator

import pytest

from sam_tvm.patches.environment import reference_environment


@pytest.fixture
def reference() -> Iterator[None]:
    """Hold the environment of the unpatched reference."""
    with reference_environment():
        yield
