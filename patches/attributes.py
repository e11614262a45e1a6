"""Temporary replacement of an attribute, the one mechanism behind the context-manager patches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set `owner.name` to `value`; on exit restore it, or delete it if it was not there.

    Only the owner's own attribute counts, not one that it inherits: an inherited attribute is
    shadowed and appears again on exit.
    """
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
