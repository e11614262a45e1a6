"""Model patches work within the environment of the reference."""

import pytest


@pytest.fixture(autouse=True)
def _environment(reference: None) -> None:
    """Hold `reference_environment` around every test."""
