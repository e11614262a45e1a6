"""Stores past the caches, for results too large to stay in them.

An ordinary store first reads the line that it changes. What is streamed is not read first, and
does not push out what the kernel reads again. Half a line would often be written to memory before
the other half joins it: whole cache lines are stored at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    divide_up,
    integer,
    linear_form,
    substitute,
)
from sam_tvm.kernels.llvm_ir import import_text
from sam_tvm.kernels.loops import loop, sequence

LARGE = 1 << 21  # elements of a result that the caches would not keep
LINE = 16  # float32
_GROUP, _GROUPS = 16, 64  # steps of a parallel loop between waits, and how many groups there are

STREAM_TEXT = """
define i32 @sam_tvm_stream(ptr %p, <16 x float> %x) {
  store <16 x float> %x, ptr %p, align 64, !nontemporal !0
  ret i32 0
}
define i32 @sam_tvm_stream_rounded(ptr %p, <32 x float> %x) {
  %r = fptrunc <32 x float> %x to <32 x bfloat>
  store <32 x bfloat> %r, ptr %p, align 64, !nontemporal !0
  ret i32 0
}
declare void @llvm.x86.sse.sfence()
define i32 @sam_tvm_stream_end() {
  call void @llvm.x86.sse.sfence()
  ret i32 0
}
!0 = !{i32 1}
"""


def stream(buffer: Var, position: Expr, value: Expr) -> tirx.Stmt:
    """Write a cache line: float32x16, or float32x32 rounded to a buffer of uint16.

    The position is a multiple of as many elements.
    """
    name = "sam_tvm_stream" if str(buffer.dtype) == "float32" else "sam_tvm_stream_rounded"
    address = tirx.address_of(tirx.BufferLoad(buffer, [position]))
    return tirx.Evaluate(tirx.call_extern("int32", name, address, value))


def end_of_stream() -> tirx.Stmt:
    """Make what was streamed visible before what follows; at the end of a task."""
    return tirx.Evaluate(tirx.call_extern("int32", "sam_tvm_stream_end"))


def is_large(buffer: Var) -> bool:
    """Tell whether a flat result does not fit the caches; one of unknown size may not."""
    known = constant_value(sym.Analyzer().simplify(buffer.shape[0]))
    return known is None or known >= LARGE


def stream_results(body: tirx.Stmt, results: set[Var]) -> tirx.Stmt:
    """Let vector stores of whole cache lines to large results go past the caches.

    Args:
        body: of a function whose loops are final.
        results: its flat results.

    """
    large = {buffer for buffer in results if is_large(buffer) and str(buffer.dtype) == "float32"}
    if not large:
        return body
    streamer = _Streamer(large)
    edits = [(tirx.For, streamer.edit), (tirx.BufferStore, streamer.edit_vector)]
    changed = tvm_ffi.structural_map(body, edits)
    if not streamer.changed:
        return body
    return import_text(STREAM_TEXT, changed)


@dataclass
class _Streamer:
    """Edits loops, the innermost ones first."""

    large: set[Var]
    changed: bool = False

    def edit(self, node: tirx.For) -> tirx.Stmt:
        """Return the loop, its store apart if it fills a line; a task ends its stream."""
        if node.kind == tirx.ForKind.PARALLEL and self.changed:
            return _in_groups(node)
        if node.kind != tirx.ForKind.VECTORIZED or constant_value(node.extent) != LINE:
            return node
        *before, last = list(node.body) if isinstance(node.body, tirx.SeqStmt) else [node.body]
        if not isinstance(last, tirx.BufferStore) or last.buffer not in self.large:
            return node
        (index,) = last.indices
        if not _fills_line(index, node.loop_var):
            return node
        self.changed = True
        register = tirx.decl_buffer((LINE,), "float32", "streamed")
        store = tirx.BufferStore(register, last.value, [node.loop_var])
        fill = tirx.For(node.loop_var, node.min, node.extent, node.kind, sequence([*before, store]))
        zero = integer(0, node.loop_var)
        whole = tirx.Ramp(zero, integer(1, node.loop_var), LINE)
        at = substitute(index, {node.loop_var: zero})
        put = stream(last.buffer, at, tirx.BufferLoad(register, [whole]))
        return sequence([tirx.AllocBuffer(register), fill, put])

    def edit_vector(self, store: tirx.BufferStore) -> tirx.Stmt:
        """Return what takes the place of the store of a vector."""
        index = store.indices[0]
        if store.buffer not in self.large or not isinstance(index, tirx.Ramp):
            return store
        if constant_value(index.lanes) != LINE or constant_value(index.stride) != 1:
            return store
        if not _begins_line(index.base):
            return store
        self.changed = True
        return stream(store.buffer, index.base, store.value)


def _in_groups(tasks: tirx.For) -> tirx.Stmt:
    """Return a parallel loop over groups of its steps, each of which ends its stream.

    Waiting for what was streamed takes longer than a small step, of some lines, itself.
    """
    known = constant_value(tasks.extent)
    size = _GROUP if known is None else max(1, min(_GROUP, known // _GROUPS))
    group = Var("group", tasks.loop_var.ty)
    first = group * size
    steps: Expr = integer(size, group)
    if known is None or known % size:
        steps = tirx.min(steps, tasks.extent - first)

    def one(step: Expr) -> tirx.Stmt:
        return sequence([tirx.Bind(tasks.loop_var, first + step), tasks.body])

    body = sequence([loop(steps, one, "step"), end_of_stream()])
    return tirx.For(group, tasks.min, divide_up(tasks.extent, size), tasks.kind, body)


def _fills_line(index: Expr, lane: Var) -> bool:
    """Tell whether the lanes are neighbours and the first one begins a line."""
    form = linear_form(index, [lane])
    if form is None or constant_value(form[0][0]) != 1:
        return False
    return _begins_line(form[1])


def _begins_line(position: Expr) -> bool:
    found = sym.Analyzer().modular_set(position)
    return int(found.coeff) % LINE == 0 and int(found.base) % LINE == 0
