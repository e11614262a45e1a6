"""The files of tuned functions, and which of them a target may use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.target import codegen

from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.replacing import replacing

FOLDER = Path(__file__).parent
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Machine:
    """What a record holds for: the CPU's name, and LLVM's names of all that it can do."""

    mcpu: str
    features: tuple[str, ...]

    @classmethod
    def of(cls, target: tvm.target.Target) -> Machine:
        """The machine that `target` compiles for."""
        features = sorted(str(name) for name in codegen.llvm_get_cpu_features(target))
        return cls(str(target.attrs.get("mcpu") or ""), tuple(features))


@dataclass(frozen=True)
class Record:
    """Better loops for one function.

    Attributes:
        function: its name where it was met first, for readers.
        rule: of ours that it was compared with.
        rule_ms: what that took, in milliseconds.
        tuned_ms: what these loops took, in the same run.
        max_error: largest difference of the two results, relative to the largest value.
        trace: MetaSchedule's steps.
    """

    function: str
    rule: str
    rule_ms: float
    tuned_ms: float
    max_error: float
    trace: list[Any]


@dataclass(frozen=True)
class Database:
    """Records of one machine, by the functions' hashes."""

    machine: Machine
    records: Mapping[str, Record]

    def with_record(self, key: str, record: Record | None) -> Database:
        """These records with `record` as the function's; None: without any."""
        others = {name: known for name, known in self.records.items() if name != key}
        return Database(self.machine, others if record is None else {**others, key: record})


def function_key(function: tirx.PrimFunc) -> str:
    """A hash of what a function computes on which shapes; its name does not matter."""
    return f"{tvm_ffi.structural_hash(function.without_attr('global_symbol')) % 2**64:016x}"


def path_of(target: tvm.target.Target) -> Path:
    """The file of the CPU that `target` names, whether there is one or not."""
    return FOLDER / f"{Machine.of(target).mcpu or 'generic'}.json"


def find(target: tvm.target.Target) -> Database | None:
    """The records that a build for `target` uses; None: there are none.

    The rule: the target is LLVM's, names the CPU that the records were made for, and has exactly
    the features that it had. Speed is measured, so what is nearly the same machine does not count.

    Raises:
        UserError: if the file cannot be read.
    """
    if target.kind.name != "llvm" or not path_of(target).is_file():
        return None
    database = read(path_of(target))
    return database if database.machine == Machine.of(target) else None


def read(path: Path) -> Database:
    """Read a file of records.

    Raises:
        UserError: if it is none.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format is {raw['format_version']}, not {FORMAT_VERSION}")
        machine = Machine(raw["machine"]["mcpu"], tuple(raw["machine"]["features"]))
        return Database(machine, {key: Record(**record) for key, record in raw["records"].items()})
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no file of tuned functions ({error}): delete it or tune again"
        ) from None


def write(database: Database, path: Path) -> None:
    """Write the records, whole or not at all; a record is a line."""
    head = {"format_version": FORMAT_VERSION, "machine": asdict(database.machine)}
    lines = [
        f"{json.dumps(key)}: {json.dumps(asdict(record))}"
        for key, record in sorted(database.records.items())
    ]
    text = json.dumps(head)[:-1] + ', "records": {\n' + ",\n".join(lines) + "\n}}\n"
    with replacing(path) as stream:
        stream.write(text)
