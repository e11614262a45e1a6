"""The functions in LLVM IR that a kernel with tiles calls.

TVM lets LLVM inline what is imported but does not emit it: large functions say `alwaysinline`.
"""

from __future__ import annotations

import functools
import re

import tvm_ffi
from tvm import tirx
from tvm.ir import Call

from sam_tvm.kernels.amx.combining import combining_text
from sam_tvm.kernels.amx.digit_cutting import digits_text
from sam_tvm.kernels.amx.instructions import instructions_text
from sam_tvm.kernels.amx.multiplication import multiplication_text
from sam_tvm.kernels.amx.parts import parts_text
from sam_tvm.kernels.llvm_ir import import_text
from sam_tvm.kernels.streaming import STREAM_TEXT

_FUNCTION = re.compile(r"^define [^@]*@(\w+)\(.*?^}\n", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"@(sam_tvm_\w+)")


@functools.cache
def tile_text() -> str:
    """Return the LLVM IR of all of them."""
    parts = [instructions_text(), multiplication_text(), parts_text(), digits_text()]
    return "\n".join([*parts, combining_text(), STREAM_TEXT])


@functools.cache
def _functions(text: str) -> tuple[str, dict[str, str]]:
    """Return what is declared, and each function by its name."""
    found = {match[1]: match[0] for match in _FUNCTION.finditer(text)}
    return re.sub(r"\n{2,}", "\n", _FUNCTION.sub("", text)), found


def import_tiles(body: tirx.Stmt) -> tirx.Stmt:
    """Make the functions that `body` calls known around it.

    LLVM reads and optimises what is imported anew for each kernel.
    """
    declarations, functions = _functions(tile_text())
    wanted: list[str] = []

    def call(node: Call) -> None:
        if getattr(node.op, "name", "").endswith("_extern"):
            wanted.append(node.args[0].value)

    tvm_ffi.structural_walk(body, (Call, call))
    used: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        if name in functions and name not in used:
            used[name] = functions[name]
            wanted += _NAME.findall(functions[name])
    return import_text("\n".join([declarations, *(used[name] for name in sorted(used))]), body)
