"""Which values of a YAML file are known here.

A value decides the network that the port builds (it must be the one expected), is a setting of
`RunSettings`, or matters to training or to the reference's own devices alone (anything will do).
Whatever else a file says is not known, and reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


class _Any:
    """A value that does not matter here, and may be absent."""


class _Setting:
    """A value that `RunSettings` takes, and that may be absent."""


class _File:
    """The name of a file in the folder."""


ANY, SETTING, FILE = _Any(), _Setting(), _File()


@dataclass(frozen=True)
class Optional:
    """A value that is also the reference's default, so that it may be absent."""

    value: Any


@dataclass
class Reading:
    """What a document was found to say.

    Attributes:
        problems: values that are not known, each with its place; empty if all are.
        settings: the values of `SETTING`, by key.
        files: the names of `FILE`, by key.
    """

    problems: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def read_document(found: Any, expected: Document) -> Reading:
    """Hold a parsed YAML document against what is `expected` of it."""
    reading = Reading()
    _compare(found, expected, "", reading)
    return reading


def _compare(found: Any, expected: Any, place: str, reading: Reading) -> None:
    if isinstance(expected, Optional):
        expected = expected.value
    key = place.rpartition(".")[2]
    if expected is ANY:
        return
    if expected is SETTING:
        reading.settings[key] = found
    elif expected is FILE:
        if isinstance(found, str) and found:
            reading.files[key] = found
        else:
            reading.problems.append(f"{place} is {found!r}, expected the name of a file")
    elif isinstance(expected, dict) and isinstance(found, dict):
        _compare_keys(found, expected, place, reading)
    elif _same_length(found, expected):
        for index, (value, wanted) in enumerate(zip(found, expected, strict=True)):
            _compare(value, wanted, f"{place}[{index}]", reading)
    elif not _equal(found, expected):
        shown = f"a mapping with {', '.join(expected)}" if isinstance(expected, dict) else expected
        wanted = shown if isinstance(expected, dict) else repr(shown)
        reading.problems.append(f"{place or 'the file'} is {found!r}, known is {wanted}")


def _compare_keys(found: Document, expected: Document, place: str, reading: Reading) -> None:
    prefix = f"{place}." if place else ""
    for key, value in found.items():
        if key in expected:
            _compare(value, expected[key], f"{prefix}{key}", reading)
        else:
            reading.problems.append(f"{prefix}{key} is not known")
    for key, wanted in expected.items():
        if key not in found and not _may_be_absent(wanted):
            reading.problems.append(f"{prefix}{key} is missing")


def _may_be_absent(expected: Any) -> bool:
    return expected is ANY or expected is SETTING or isinstance(expected, Optional)


def _same_length(found: Any, expected: Any) -> bool:
    both = isinstance(found, list) and isinstance(expected, list)
    return both and len(found) == len(expected)


def _equal(found: Any, expected: Any) -> bool:
    """Equality that tells True from 1."""
    return found == expected and isinstance(found, bool) == isinstance(expected, bool)


def example(expected: Any, name: str = "") -> Any:
    """A document that says all that is `expected`, without what does not matter.

    `name` stands for the files that are named: a key ``a_b_path`` names ``a.b`` (as in
    ``ss_decoder_ckpt_path: ss_decoder.ckpt``), where ``config`` is a ``yaml``.
    """
    if isinstance(expected, Optional):
        return example(expected.value)
    if expected is FILE:
        stem, _, kind = name.removesuffix("_path").rpartition("_")
        return f"{stem}.{'yaml' if kind == 'config' else kind}"
    if isinstance(expected, dict):
        return {
            key: example(value, key)
            for key, value in expected.items()
            if value is not ANY and value is not SETTING
        }
    if isinstance(expected, list):
        return [example(value) for value in expected]
    return expected
