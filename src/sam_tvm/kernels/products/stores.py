"""The store of a contraction's sums, through what was fused behind it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tvm
from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import rounded_value
from sam_tvm.kernels.expressions import constant_value, divide, integer, linear_form, substitute
from sam_tvm.kernels.loops import loop, sequence, vector
from sam_tvm.kernels.neighbours import at_column, neighbour
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.streaming import LINE, is_large
from sam_tvm.kernels.vectors import prefetch

_LINE_BYTES = 64  # of the cache
Stream = Callable[[Var, Expr, Expr], tirx.Stmt]


def store_sums(
    contraction: Contraction,
    lanes: int,
    sums: tuple[Var, Expr, int],
    rows: tuple[Expr, Expr],
    columns: tuple[Expr, Expr],
    analyzer: sym.Analyzer,
    stream: Stream | None = None,
) -> tirx.Stmt:
    """Return what stores sums, vectors of `lanes` columns at a time.

    Args:
        contraction: whose output and epilogue.
        lanes: of a vector.
        sums: float32 buffer, where the first sum is, and elements between rows.
        rows: the first row of the output, and how many.
        columns: the first column of the output, and how many.
        analyzer: knows the sizes.
        stream: stores a vector past the caches: to a buffer, at a position, float32 values, which
            it rounds if the buffer is of uint16; where it is None, an ordinary store does.

    """
    (buffer, start, step), (first, count), (left, width) = sums, rows, columns

    beside = contraction.neighbour

    def cell(r: Expr, i: Expr, k: Expr | None = None) -> tuple[Expr, Expr]:
        """Return the result in column i, or in lane k of the vector that begins there; its place.

        Of a vector whose value asks for neighbours, k is below their reach.
        """
        value, column = contraction.value, i if k is None else i + k
        sums = {contraction.accumulator: tirx.BufferLoad(buffer, [start + r * step + column])}
        if beside is not None:
            away = neighbour(column, beside.reach)
            if k is not None:
                value = at_column(value, contraction.lane.var, left + i, k, beside.reach)
                away = neighbour(i, beside.reach) + k
            sums[beside.var] = tirx.BufferLoad(buffer, [start + r * step + away])
        point: dict[Var, Expr] = {contraction.lane.var: left + column}
        if contraction.row is not None:
            point[contraction.row.var] = first + r
        return substitute(substitute(value, point), sums), substitute(contraction.index, point)

    def store(r: Expr, i: Expr, k: Expr | None = None) -> tirx.Stmt:
        value, at = cell(r, i, k)
        return tirx.BufferStore(contraction.output, value, [at])

    def streamed(r: Expr, i: Expr) -> tirx.Stmt:
        register = tirx.decl_buffer((lanes,), "float32", "result")

        together = lanes if beside is None else beside.reach

        def compute(part: int, k: Expr) -> tirx.Stmt:
            value, _ = cell(r, i + part, k)
            exact = rounded_value(value)
            return tirx.BufferStore(register, value if exact is None else exact, [k + part])

        parts = [
            vector(together, width, partial(compute, part)) for part in range(0, lanes, together)
        ]
        whole = tirx.Ramp(integer(0, width), integer(1, width), lanes)
        put = stream(contraction.output, cell(r, i)[1], tirx.BufferLoad(register, [whole]))
        return sequence([tirx.AllocBuffer(register), *parts, put])

    def some(r: Expr, i: Expr) -> tirx.Stmt:
        if stream is not None:
            return streamed(r, i)
        return vector(lanes, width, lambda k: store(r, i, k))

    whole = analyzer.simplify(divide(width, lanes))
    rest = analyzer.simplify(width - whole * lanes)

    def row(r: Expr) -> tirx.Stmt:
        statements = []
        if constant_value(whole) != 0:
            statements.append(loop(whole, lambda v: some(r, v * lanes), "vector"))
        if constant_value(rest) != 0:
            statements.append(loop(rest, lambda i: store(r, whole * lanes + i), "rest"))
        return sequence(statements)

    return loop(count, row, "row")


def foresee_stores(
    contraction: Contraction, first: Expr, rows: int, left: Expr, columns: int
) -> list[tirx.Stmt]:
    """Return hints that results will be stored, whose lines are fetched while sums are added up.

    A store that waits for its line holds up the sums that the next pass leaves.

    Args:
        contraction: whose output.
        first: the first row of the output.
        rows: how many.
        left: the first column.
        columns: how many; there may be fewer.

    """
    output = contraction.output
    per_line = _LINE_BYTES // -(-tvm.DataType(str(output.dtype)).bits // 8)

    def hint(row: int, column: int) -> tirx.Stmt:
        point: dict[Var, Expr] = {contraction.lane.var: left + column}
        if contraction.row is not None:
            point[contraction.row.var] = first + row
        return prefetch(output, substitute(contraction.index, point), for_store=True)

    return [hint(row, column) for row in range(rows) for column in range(0, columns, per_line)]


def streamed_lanes(contraction: Contraction) -> int | None:
    """Return the elements of a cache line, if a result in whole lines is too large for the caches.

    Else None.
    """
    if not is_large(contraction.output):
        return None
    lanes = LINE
    if str(contraction.output.dtype) != "float32":
        if rounded_value(contraction.value) is None:
            return None
        lanes = 2 * LINE
    rows = [contraction.row] if contraction.row is not None else []
    axes = [*contraction.outer, *rows, contraction.lane]
    form = linear_form(contraction.index, [axis.var for axis in axes])
    columns = constant_value(contraction.lane.extent)
    if form is None or columns is None or columns % lanes:
        return None
    *steps, _ = form[0]
    numbers = [constant_value(number) for number in (*steps, form[1])]
    return lanes if all(n is not None and n % lanes == 0 for n in numbers) else None
