"""The two transformations around the products: of 4x4 inputs, and to 2x2 results.

Both are sums and differences of vectors of channels (Lavin & Gray 2015, section 4.1; Winograd
1980): B^T d B for inputs d, and A^T m A for products m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.loops import loop, sequence
from sam_tvm.kernels.vectors import Code, Lanes, index
from sam_tvm.kernels.winograd.problem import PATCH, STEP

Read = Callable[[int, int], Expr]


def transformed_input(code: Code, read: Read) -> Iterator[tuple[int, Expr]]:
    """Yield the sixteen elements of B^T d B, by position; `read` returns d's row and column."""
    columns = []
    for x in range(PATCH):
        patch = [code.name(f"d_{y}{x}", read(y, x)) for y in range(PATCH)]
        columns.append([code.name(f"t_{y}{x}", value) for y, value in enumerate(_inputs(patch))])
    for y in range(PATCH):
        for x, value in enumerate(_inputs([column[y] for column in columns])):
            yield y * PATCH + x, value


def transformed_products(code: Code, read: Read) -> list[list[Expr]]:
    """Return the 2x2 elements of A^T m A; `read` returns m's row and column."""
    columns = []
    for x in range(PATCH):
        products = [code.name(f"m_{y}{x}", read(y, x)) for y in range(PATCH)]
        columns.append([code.name(f"s_{y}{x}", value) for y, value in enumerate(_sums(products))])
    return [_sums([column[y] for column in columns]) for y in range(STEP)]


def _inputs(d: list[Expr]) -> list[Expr]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _sums(m: list[Expr]) -> list[Expr]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def each_vector(count: int, lanes: int, body: Callable[[Lanes, Expr], tirx.Stmt]) -> tirx.Stmt:
    """Return `body(lanes, start)` for so many elements; vectors at the end are shorter."""
    whole, rest = divmod(count, lanes)
    statements = []
    if whole:
        statements.append(loop(index(whole), lambda v: body(Lanes(lanes), v * lanes), "vector"))
    start = whole * lanes
    while rest:
        lanes //= 2
        if rest >= lanes:
            statements.append(body(Lanes(lanes), index(start)))
            start, rest = start + lanes, rest - lanes
    return sequence(statements)


def copied_patch(
    source: Var,
    patch: Var,
    position: Callable[[int | Expr, int | Expr], tuple[Expr, Expr]],
    channels: int,
    lanes: int,
) -> tirx.Stmt:
    """Return what copies a tile's inputs, (4, 4, channels), with zeros beyond the picture's edge.

    Args:
        source: the picture, flat.
        patch: where to.
        position: returns whether a row and column of the patch are there, and where.
        channels: of each.
        lanes: of a vector.
    """

    def pixel(y: Expr, x: Expr) -> tirx.Stmt:
        inside, at = position(y, x)
        to = (y * PATCH + x) * channels

        def copy(vector: Lanes, c: Expr) -> tirx.Stmt:
            return vector.store(patch, vector.load(source, at + c), to + c)

        def clear(vector: Lanes, c: Expr) -> tirx.Stmt:
            return vector.store(patch, vector.number(0.0), to + c)

        return tirx.IfThenElse(
            inside, each_vector(channels, lanes, copy), each_vector(channels, lanes, clear)
        )

    side = index(PATCH)
    return loop(side, lambda y: loop(side, lambda x: pixel(y, x), "x"), "y")
