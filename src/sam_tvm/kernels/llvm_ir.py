"""Functions in LLVM IR that a function's statements call."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import StringImm

IMPORT = "pragma_import_llvm"  # key of the attribute


def import_text(text: str, body: tirx.Stmt) -> tirx.Stmt:
    """Make the functions of a text known around `body`."""
    return tirx.AttrStmt(tirx.IntImm("int32", 0), IMPORT, StringImm(text), body)
