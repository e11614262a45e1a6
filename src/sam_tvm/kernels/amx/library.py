"""The functions in LLVM IR that a kernel with tiles calls.

TVM lets LLVM inline what is imported but does not emit it: large functions say `alwaysinline`.
"""

from __future__ import annotations

import functools

from tvm import tirx
from tvm.ir import StringImm

from sam_tvm.kernels.amx.combining import combining_text
from sam_tvm.kernels.amx.digits import digits_text
from sam_tvm.kernels.amx.instructions import instructions_text
from sam_tvm.kernels.amx.multiplication import multiplication_text
from sam_tvm.kernels.amx.parts import parts_text
from sam_tvm.kernels.streaming import STREAM_TEXT


@functools.cache
def tile_text() -> str:
    """Return the LLVM IR of all of them."""
    parts = [instructions_text(), multiplication_text(), parts_text(), digits_text()]
    return "\n".join([*parts, combining_text(), STREAM_TEXT])


def import_tiles(body: tirx.Stmt, more: str = "") -> tirx.Stmt:
    """Make the functions, and those of more LLVM IR, known to the function around `body`."""
    text = StringImm(tile_text() + more)
    return tirx.AttrStmt(tirx.IntImm("int32", 0), "pragma_import_llvm", text, body)
