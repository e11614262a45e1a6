"""A pass: the sizes that the virtual machine computes, in the order of their slots.

VMShapeLower writes a function `H[i] = f(H[0], H[1], ...)` that computes sizes from those of the
inputs, and goes through a set, which is ordered by addresses: the same module would give other
bytes in each process.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad

from sam_tvm.kernels.expressions import constant_value

_OF_THE_MACHINE = "tirx.is_host_func"


def order_shapes() -> tvm.ir.transform.Pass:
    """Return the pass; functions whose sizes need each other are left as they are."""

    @tvm.transform.module_pass(opt_level=0, name="SamTvmOrderShapes")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc) and _OF_THE_MACHINE in (function.attrs or {}):
                module[var] = function.with_body(_ordered(function.body))
        return module

    return run


def _ordered(body: tirx.Stmt) -> tirx.Stmt:
    stores = list(body.seq) if isinstance(body, tirx.SeqStmt) else []
    if not all(isinstance(store, tirx.BufferStore) for store in stores):
        return body
    slots = {_slot(store): store for store in stores}
    if len(slots) < 2 or None in slots or _read(stores) & slots.keys():
        return body
    return tirx.SeqStmt([slots[slot] for slot in sorted(slots)])


def _read(stores: list[tirx.BufferStore]) -> set[int | None]:
    """Return the slots that values are computed from."""
    found: set[int | None] = set()
    for store in stores:
        tvm_ffi.structural_walk(store.value, (TensorLoad, lambda load: found.add(_slot(load))))
    return found


def _slot(access: tirx.BufferStore | TensorLoad) -> int | None:
    return constant_value(access.indices[0])
