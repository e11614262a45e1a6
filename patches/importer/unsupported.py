"""Names every operator of a program that cannot be imported, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from sam_tvm.patches.patch import Converter


def unsupported_operators(
    program: ExportedProgram, converters: Mapping[str, Converter]
) -> list[str]:
    """Return the operators that neither TVM's importer nor `converters` handle, sorted.

    Names are as TVM's importer spells them, e.g. "roll.default". The program is decomposed first,
    as `from_exported_program` does it; `program` itself is unchanged.
    """
    known = ExportedProgramImporter().convert_map.keys() | converters.keys()
    nodes = program.run_decompositions().graph.nodes
    called = {node.target.__name__ for node in nodes if node.op == "call_function"}
    return sorted(called - known)


def patch_file(operator: str) -> str:
    """Return the file where a converter for `operator` goes, relative to the repository."""
    return f"patches/importer/{operator.partition('.')[0]}.py"
