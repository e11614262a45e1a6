"""The record that every patch file defines: what is wrong, where, and what mends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

# A converter is called with an FX node and TVM's importer, and returns a Relax expression.
Converter = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Patch:
    """One blocker and its mend.

    `symptom` is the message without the patch, verbatim, or, where the blocker is silent, what
    goes wrong. `versions` names the releases that were seen to need the patch, `upstream` a public
    issue or change about the blocker, or about the same cause elsewhere, if there is one. `apply`
    is, for a converter, the operators that it serves (keys as in `from_exported_program`'s
    `custom_convert_map`), else a function that returns a context manager: of no argument for the
    environment, of the model that is about to be exported for the rest.
    """

    name: str
    symptom: str
    versions: Mapping[str, str]
    upstream: str | None
    apply: Callable[..., AbstractContextManager[None]] | Mapping[str, Converter]
