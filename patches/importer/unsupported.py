"""Names every operator of a program that cannot be imported, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from sam_tvm.patches.patch import Converter


def unsupported_operators(
    program: ExportedProgram, converters: Mapping[str, Converter], *, decompose: bool = True
) -> list[str]:
    """Return what neither TVM's importer nor `converters` handle, sorted.

    Each entry is the operator as TVM's importer spells it and the file where a converter would
    go, e.g. "roll.default (patches/importer/roll.py)". The program is decomposed first, as
    `from_exported_program` does it, unless `decompose` is false because it is already;
    `program` itself is unchanged.
    """
    if decompose:
        program = program.run_decompositions()
    known = ExportedProgramImporter().convert_map.keys() | converters.keys()
    nodes = program.graph.nodes
    called = {node.target.__name__ for node in nodes if node.op == "call_function"}
    return [f"{operator} ({patch_file(operator)})" for operator in sorted(called - known)]


def patch_file(operator: str) -> str:
    """Return the file where a converter for `operator` goes, relative to the repository."""
    return f"patches/importer/{operator.partition('.')[0]}.py"
