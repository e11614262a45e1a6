"""What a PrimFunc computes, how often, and whether in parallel and on vectors."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Var
from tvm.s_tir.stmt import SBlockRealize

SYMBOLIC = 32  # what a symbolic size counts for, unless it is given: a prompt is not longer
WHILE_STEPS = 64
_SERIAL = (tirx.ForKind.SERIAL, tirx.ForKind.UNROLLED)
_BINARY = {
    tirx.Add: operator.add,
    tirx.Sub: operator.sub,
    tirx.Mul: operator.mul,
    tirx.Div: operator.floordiv,  # sizes are never negative
    tirx.FloorDiv: operator.floordiv,
    tirx.Mod: operator.mod,
    tirx.FloorMod: operator.mod,
    tirx.Max: max,
    tirx.Min: min,
    tirx.LT: operator.lt,
    tirx.LE: operator.le,
    tirx.GT: operator.gt,
    tirx.GE: operator.ge,
    tirx.EQ: operator.eq,
    tirx.NE: operator.ne,
}


@dataclass(frozen=True)
class Computation:
    """A statement that stores or calls, and the loops around it.

    Attributes:
        text: the statement, shortened.
        steps: how often it runs; both branches of a condition count.
        parallel: whether a loop around it is shared among threads.
        vector: whether a step handles several elements at once.
    """

    text: str = ""
    steps: int = 1
    parallel: bool = False
    vector: bool = False

    @property
    def is_serial_and_scalar(self) -> bool:
        """Whether one thread does it all, an element at a time."""
        return not (self.parallel or self.vector)


def computations(
    function: tirx.PrimFunc, sizes: Mapping[str, int] | None = None
) -> list[Computation]:
    """Every statement of a function that stores or calls.

    Args:
        function: before or after it is scheduled; nothing lowered.
        sizes: of the symbolic sizes by name; `SYMBOLIC` for the others.
    """
    return list(_Walk(sizes or {}).visit(function.body, Computation()))


def slow_loops(
    function: tirx.PrimFunc, steps: int, sizes: Mapping[str, int] | None = None
) -> list[Computation]:
    """The statements that one thread runs at least so often, an element at a time."""
    return [
        found
        for found in computations(function, sizes)
        if found.is_serial_and_scalar and found.steps >= steps
    ]


class _Walk:
    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._values: dict[Var, int] = {}

    def visit(self, statement: tirx.Stmt | None, around: Computation) -> Iterator[Computation]:
        if statement is None or isinstance(statement, tirx.AllocBuffer | tirx.DeclBuffer):
            return
        if isinstance(statement, tirx.BufferStore | tirx.Evaluate):
            text = " ".join(str(statement).split())
            yield replace(around, text=text, vector=around.vector or _holds_vectors(statement))
        elif isinstance(statement, tirx.For):
            yield from self.visit(statement.body, self._inside(statement, around))
        elif isinstance(statement, tirx.SeqStmt):
            for part in statement.seq:
                yield from self.visit(part, around)
        elif isinstance(statement, SBlockRealize):
            for axis, value in zip(statement.block.iter_vars, statement.iter_values, strict=True):
                self._values[axis.var] = self._value(value)
            yield from self.visit(statement.block.init, around)
            yield from self.visit(statement.block.body, around)
        elif isinstance(statement, tirx.IfThenElse):
            yield from self.visit(statement.then_case, around)
            yield from self.visit(statement.else_case, around)
        elif isinstance(statement, tirx.While):
            inside = replace(around, steps=around.steps * WHILE_STEPS)
            yield from self.visit(statement.body, inside)
        elif isinstance(statement, tirx.AttrStmt):
            yield from self.visit(statement.body, around)
        elif isinstance(statement, tirx.Bind):
            if str(statement.var.ty.dtype).startswith("int"):
                self._values[statement.var] = self._value(statement.value)
        else:
            raise TypeError(f"{type(statement).__name__}: teach this walker what it holds")

    def _inside(self, loop: tirx.For, around: Computation) -> Computation:
        extent = self._value(loop.extent)
        self._values[loop.loop_var] = 0  # the first step: no tail is longer
        if loop.kind == tirx.ForKind.VECTORIZED:
            return replace(around, vector=around.vector or extent > 1)
        if loop.kind not in (*_SERIAL, tirx.ForKind.PARALLEL):
            raise TypeError(f"{loop.kind}: not a loop of a CPU")
        shared = loop.kind == tirx.ForKind.PARALLEL and extent > 1
        return replace(around, steps=around.steps * extent, parallel=around.parallel or shared)

    def _value(self, size: Expr) -> int:
        """What a size comes to."""
        if isinstance(size, tirx.IntImm):
            return int(size)
        if isinstance(size, Var):
            return self._values.get(size, self._sizes.get(size.name, SYMBOLIC))
        if isinstance(size, tirx.Cast):
            return self._value(size.value)
        if isinstance(size, tirx.Select):
            chosen = size.true_value if self._value(size.condition) else size.false_value
            return self._value(chosen)
        if type(size) in _BINARY:
            return int(_BINARY[type(size)](self._value(size.a), self._value(size.b)))
        if isinstance(size, Call) and size.op.name == "tirx.call_llvm_pure_intrin":
            return max(map(self._value, size.args[1:]))  # llvm.umax, which hides a size
        return SYMBOLIC  # read from memory


def _holds_vectors(statement: tirx.Stmt) -> bool:
    found: list[Expr] = []
    tvm_ffi.structural_walk(statement, ((tirx.Ramp, tirx.Broadcast), found.append))
    return bool(found)
