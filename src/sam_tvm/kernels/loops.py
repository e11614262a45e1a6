"""Loops as statements: nests, parallel prefixes, vector loops with a scalar rest."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    integer,
    opaque,
    remainder,
)
from sam_tvm.kernels.program import Axis

Body = Callable[[Expr], tirx.Stmt]
UNROLLED = 4  # steps of a product's innermost loop that are written out


def sequence(statements: list[tirx.Stmt]) -> tirx.Stmt:
    """Return one statement for a list."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def loop(
    extent: Expr, body: Body, name: str, kind: tirx.ForKind = tirx.ForKind.SERIAL
) -> tirx.Stmt:
    """Return `for var in range(extent): body(var)`; nothing is looped for one step."""
    if constant_value(extent) == 1 and kind != tirx.ForKind.PARALLEL:
        return body(integer(0, extent))
    var = Var(name, extent.ty)
    return tirx.For(var, integer(0, extent), extent, kind, body(var))


def nest(axes: tuple[Axis, ...] | list[Axis], body: tirx.Stmt) -> tirx.Stmt:
    """Return serial loops over the axes' own variables around `body`."""
    for axis in reversed(axes):
        body = tirx.For(axis.var, integer(0, axis.var), axis.extent, tirx.ForKind.SERIAL, body)
    return body


def unrolled(extent: Expr, body: Body, name: str) -> tirx.Stmt:
    """Return a serial loop, several steps at a time where they divide its extent.

    LLVM writes the inner loop out, so that counting and comparing come once for all its steps.
    """
    analyzer = sym.Analyzer()
    found = analyzer.modular_set(extent)
    if math.gcd(int(found.coeff), int(found.base)) % UNROLLED:
        return loop(extent, body, name)
    some = analyzer.simplify(divide(extent, UNROLLED))
    steps = integer(UNROLLED, extent)
    return loop(some, lambda i: loop(steps, lambda j: body(i * UNROLLED + j), "step"), name)


def vector(lanes: int, like: Expr, body: Body) -> tirx.Stmt:
    """Return `body` for each lane at once."""
    if lanes == 1:
        return body(integer(0, like))
    return loop(integer(lanes, like), body, "lane", tirx.ForKind.VECTORIZED)


def vector_loop(extent: Expr, lanes: int, body: Body, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return `body(i)` for i below `extent`, `lanes` at a time.

    Of a known extent the last vector overlaps its neighbour: the body must do the same when it runs
    twice. The rest of another one runs one by one.
    """
    known = constant_value(extent)
    while known is not None and lanes > max(known, 1):
        lanes //= 2
    whole = analyzer.simplify(divide(extent, integer(lanes, extent)))
    rest = analyzer.simplify(extent - whole * lanes)
    statements = []
    if constant_value(whole) != 0:
        statements.append(
            loop(whole, lambda v: vector(lanes, extent, lambda i: body(v * lanes + i)), "block")
        )
    if known is not None and known % lanes:
        statements.append(vector(lanes, extent, lambda i: body(i + (known - lanes))))
    elif constant_value(rest) != 0:
        statements.append(loop(rest, lambda i: body(whole * lanes + i), "rest"))
    return sequence(statements)


def parallel(axes: tuple[Axis, ...] | list[Axis], body: tirx.Stmt) -> tirx.Stmt:
    """Return one parallel loop over all the axes, their variables bound inside."""
    if not axes:
        return body
    total: Expr = axes[0].extent
    for axis in axes[1:]:
        total = total * axis.extent
    if len(axes) == 1:
        axis = axes[0]
        return tirx.For(axis.var, integer(0, axis.var), axis.extent, tirx.ForKind.PARALLEL, body)

    def bind(task: Expr) -> tirx.Stmt:
        bindings: list[tirx.Stmt] = []
        rest = task
        for axis in reversed(axes[1:]):
            position, rest = remainder(rest, axis.extent), divide(rest, axis.extent)
            if constant_value(axis.extent) is None:
                position = opaque(position)
            bindings.append(tirx.Bind(axis.var, position))
        bindings.append(tirx.Bind(axes[0].var, rest))
        return tirx.SeqStmt([*bindings, body])

    return loop(total, bind, "task", tirx.ForKind.PARALLEL)


def named(name: str, value: Expr, statements: list[tirx.Stmt], analyzer: sym.Analyzer) -> Expr:
    """Bind a size or position that is not a number, so that it is computed and written once.

    The binding is added to `statements`.
    """
    value = analyzer.simplify(value)
    if constant_value(value) is not None or isinstance(value, Var):
        return value
    statements.append(tirx.Bind(Var(name, value.ty), opaque(value)))
    return statements[-1].var
