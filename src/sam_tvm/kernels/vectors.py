"""Vectors in TIR: loads, stores, named registers and transposition, for kernels written by hand."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import dtype_of, integer

_INDEX = "int64"


def index(value: Expr | int) -> Expr:
    """Return a position as an int64 expression."""
    return integer(value, _INDEX) if isinstance(value, int) else value


def prefetch(buffer: Var, position: Expr, for_store: bool = False) -> tirx.Stmt:
    """Return a hint that an element of a flat buffer will be read, or else stored.

    It may lie beyond the end.
    """
    address = tirx.address_of(tirx.BufferLoad(buffer, [position]))
    soon, data = 3, 1
    how = int(for_store), soon, data
    return tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, *how))


@dataclass(frozen=True)
class Lanes:
    """Makes expressions and statements over vectors of so many lanes."""

    count: int

    def ramp(self, start: Expr | int) -> Expr:
        """Return the positions `start`, `start + 1`, ...; the position itself for one lane."""
        if self.count == 1:
            return index(start)
        return tirx.Ramp(index(start), index(1), self.count)

    def splat(self, scalar: Expr) -> Expr:
        """Return a vector of equal lanes."""
        if self.count == 1:
            return scalar
        return tirx.Broadcast(scalar, self.count)

    def number(self, value: float) -> Expr:
        """Return a float32 constant in every lane."""
        return self.splat(tirx.FloatImm("float32", value))

    def integer(self, value: int, dtype: str = "int32") -> Expr:
        """Return an integer constant in every lane."""
        return self.splat(tirx.IntImm(dtype, value))

    def load(self, buffer: Var, start: Expr | int) -> Expr:
        """Read a vector from a flat buffer."""
        return tirx.BufferLoad(buffer, [self.ramp(start)])

    def store(self, buffer: Var, value: Expr, start: Expr | int) -> tirx.Stmt:
        """Write a vector to a flat buffer."""
        return tirx.BufferStore(buffer, value, [self.ramp(start)])

    def reinterpret(self, dtype: str, value: Expr) -> Expr:
        """Return the same bits as another type, e.g. ``int32``."""
        return tirx.reinterpret(f"{dtype}x{self.count}", value)


class Code:
    """Statements in the order they run; values that are named become registers.

    A register is a buffer of one vector, which LLVM keeps in a register. `Let` and `Bind` would say
    the same, but TVM's simplifier writes their values out at each use, which grows exponentially.
    """

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.statements: list[tirx.Stmt] = []

    def add(self, *statements: tirx.Stmt) -> None:
        """Append statements."""
        self.statements += statements

    def register(self, name: str, dtype: str = "float32") -> Var:
        """Declare a register without a value."""
        buffer = tirx.decl_buffer((self.lanes.count,), dtype, name)
        self.add(tirx.AllocBuffer(buffer))
        return buffer

    def set(self, register: Var, value: Expr) -> None:
        """Assign to a register."""
        self.add(self.lanes.store(register, value, 0))

    def get(self, register: Var) -> Expr:
        """Return the value of a register."""
        return self.lanes.load(register, 0)

    def name(self, name: str, value: Expr, dtype: str = "float32") -> Expr:
        """Compute a vector once; returns what reads it."""
        register = self.register(name, dtype)
        self.set(register, value)
        return self.get(register)

    def bind(self, name: str, value: Expr | int) -> Expr:
        """Compute a position, or another scalar, once; returns what reads it.

        It is a buffer of one element: TVM's passes look through a `Bind`, and their time grows with
        the number of bindings times that of memory accesses.
        """
        value = index(value)
        if isinstance(value, tirx.IntImm | Var):
            return value
        buffer = tirx.decl_buffer((1,), dtype_of(value), name)
        self.add(tirx.AllocBuffer(buffer), tirx.BufferStore(buffer, value, [index(0)]))
        return tirx.BufferLoad(buffer, [index(0)])

    def body(self) -> tirx.Stmt:
        """Return all statements as one."""
        return self.statements[0] if len(self.statements) == 1 else tirx.SeqStmt(self.statements)


def transpose(code: Code, rows: list[Expr], dtype: str = "float32") -> list[Expr]:
    """Return the columns of a square of lanes x lanes values, whose rows are given as vectors.

    First inside groups of four lanes, then whole groups change places: steps for which every vector
    unit has one instruction.
    """
    size = code.lanes.count

    def shuffle(a: Expr, b: Expr, pattern: list[int]) -> Expr:
        order = [integer(i, "int32") for i in pattern]
        return code.name("shuffled", tirx.Shuffle([a, b], order), dtype)

    def both(a: Expr, b: Expr, first: list[int], second: list[int]) -> tuple[Expr, Expr]:
        """Shuffle with patterns of one group, where 4 and above are in `b`."""
        patterns = (
            [4 * g + i % 4 + (size if i >= 4 else 0) for g in range(size // 4) for i in group]
            for group in (first, second)
        )
        return tuple(shuffle(a, b, pattern) for pattern in patterns)

    squares: list[list[Expr]] = []
    for r0, r1, r2, r3 in zip(*[iter(rows)] * 4, strict=True):
        low01, high01 = both(r0, r1, [0, 4, 1, 5], [2, 6, 3, 7])
        low23, high23 = both(r2, r3, [0, 4, 1, 5], [2, 6, 3, 7])
        halves = ([0, 1, 4, 5], [2, 3, 6, 7])
        squares.append([*both(low01, low23, *halves), *both(high01, high23, *halves)])

    def groups(vectors: list[Expr]) -> list[Expr]:
        """Return, for each g, the g-th groups of all vectors, one after another."""
        if len(vectors) == 1:
            return vectors
        found: list[list[Expr]] = []
        for odd in (0, 1):
            pattern = [4 * g + i for g in range(odd, 2 * size // 4, 2) for i in range(4)]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            found.append(groups([shuffle(a, b, pattern) for a, b in pairs]))
        return [vector for pair in zip(*found, strict=True) for vector in pair]

    columns = [groups([square[c] for square in squares]) for c in range(4)]
    return [columns[j % 4][j // 4] for j in range(size)]
