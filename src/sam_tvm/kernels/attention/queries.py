"""Queries into scratch and sums out of it: between channels side by side and queries side by side.

A vector of a task holds one channel of many queries, so that a key's channel, the same number for
all of them, meets it without a sum across lanes. Squares of lanes x lanes are transposed in
registers; channels that are left over are copied one by one.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.attention.plan import Plan
from sam_tvm.kernels.bfloat16 import pair_lanes
from sam_tvm.kernels.loops import loop, sequence
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.vectors import Code, index, transpose

Head = tuple[Expr, Expr]


def row_starts(
    plan: Plan, code: Code, operand: Operand, head: Head, first: Expr, size: Expr
) -> list[Expr]:
    """Return where the rows `first`, `first + 1`, ... of an operand begin, one per lane."""
    lanes = plan.tile.lanes
    rows = [plan.clamp(first + r, size, lanes) for r in range(lanes)]
    return [code.bind("row", operand.at(*head, row, 0)) for row in rows]


def load_queries(
    plan: Plan, target: Var, start: Expr, head: Head, first: Expr, vectors: int
) -> tirx.Stmt:
    """Copy queries, multiplied with `query_scale`.

    Args:
        plan: the kernel.
        target: scratch, [channel or pair of channels][query].
        start: where the block's part of it begins.
        head: number of the batch's item, and of the head in it.
        first: the block's first query.
        vectors: how many vectors of queries.

    """
    lanes, query = plan.tile.lanes, plan.attention.query
    one_square, side = (copy_words, 2 * lanes) if plan.copies_queries else (_query_square, lanes)
    squares = plan.attention.depth // side if query.has_vectors else 0

    def one_vector(v: Expr) -> tirx.Stmt:
        code = Code(plan.lanes)
        at = code.bind("at", start + v * lanes)
        if squares:
            rows = row_starts(plan, code, query, head, first + v * lanes, plan.attention.queries)
            code.add(
                loop(index(squares), lambda s: one_square(plan, target, at, rows, s), "square")
            )
        if squares * side < plan.attention.depth:
            code.add(_query_rest(plan, target, at, head, first + v * lanes, squares * side))
        return code.body()

    return loop(index(vectors), one_vector, "v")


def _query_square(plan: Plan, target: Var, at: Expr, rows: list[Expr], square: Expr) -> tirx.Stmt:
    lanes, width, code = plan.lanes, plan.tile.width, Code(plan.lanes)
    query = plan.attention.query
    scale = lanes.number(plan.query_scale)
    loaded = [
        code.name("loaded", plan.load(query, row + square * lanes.count) * scale) for row in rows
    ]
    columns = transpose(code, loaded)
    if plan.tile.bfloat16:
        columns = [pair_lanes(a, b) for a, b in zip(columns[::2], columns[1::2], strict=True)]
    for i, column in enumerate(columns):
        code.add(lanes.store(target, column, at + (square * len(columns) + i) * width))
    return code.body()


def copy_words(plan: Plan, target: Var, at: Expr, rows: list[Expr], square: Expr) -> tirx.Stmt:
    """Return what turns a square of the queries' words around, as they are."""
    lanes, width, code = plan.lanes, plan.tile.width, Code(plan.lanes)
    starts = [row + square * (2 * lanes.count) for row in rows]
    words = [plan.load_words(plan.attention.query, start) for start in starts]
    words = [code.name("loaded", word, "uint32") for word in words]
    for i, column in enumerate(transpose(code, words, "uint32")):
        code.add(lanes.store(target, column, at + (square * lanes.count + i) * width))
    return code.body()


def _query_rest(plan: Plan, target: Var, at: Expr, head: Head, first: Expr, done: int) -> tirx.Stmt:
    """Copy the channels from `done` on, one by one."""
    a, group = plan.attention, plan.group
    scale = tirx.FloatImm("float32", plan.query_scale)

    def copy(word: Expr, lane: Expr) -> tirx.Stmt:
        row = plan.clamp(first + lane, a.queries, plan.tile.lanes)
        value = channel_word(
            plan, lambda c: plan.element(a.query, (*head, row, c)) * scale, word * group + done
        )
        to = at + (word + done // group) * plan.tile.width + lane
        return tirx.BufferStore(target, value, [to])

    return loop(
        index(plan.key_words - done // group),
        lambda w: loop(index(plan.tile.lanes), lambda q: copy(w, q), "lane"),
        "word",
    )


def channel_word(plan: Plan, read: Callable[[Expr], Expr], channel: Expr) -> Expr:
    """Return the word of scratch that begins with a channel of a query or key.

    Args:
        plan: the kernel.
        read: gives a channel's value.
        channel: the first one; in bfloat16 the word holds the next one too, 0 if there is none.

    """
    values = [read(channel)]
    if plan.group == 2:
        beside = channel + 1
        odd = read(beside)
        if plan.attention.depth % 2:
            zero = tirx.FloatImm("float32", 0.0)
            odd = tirx.if_then_else(beside < plan.attention.depth, odd, zero)
        values.append(odd)
    return plan.word_of(values)


def store_output(
    plan: Plan, sums: Var, start: Expr, factors: list[Expr], head: Head, first: Expr
) -> tirx.Stmt:
    """Write a block's sums to the output.

    Queries beyond the end are the last one again: its row is written more than once, with the same
    numbers.

    Args:
        plan: the kernel.
        sums: scratch, [channel][query].
        start: where the block's part of it begins.
        factors: what the sums are multiplied with, one vector per vector of queries.
        head: number of the batch's item, and of the head in it.
        first: the block's first query.

    """
    out, code = plan.attention.output, Code(plan.lanes)
    for v, factor in enumerate(factors):
        at = code.bind("at", start + v * plan.tile.lanes)
        query = first + v * plan.tile.lanes
        rows = row_starts(plan, code, out, head, query, plan.attention.queries)
        code.add(_store_vector(plan, sums, at, factor, rows))
    return code.body()


def _store_vector(plan: Plan, sums: Var, at: Expr, factor: Expr, rows: list[Expr]) -> tirx.Stmt:
    """Write one vector of queries, whose rows in the output begin at `rows`."""
    a, lanes, width = plan.attention, plan.lanes, plan.tile.width
    squares = a.value_depth // lanes.count if a.output.has_vectors else 0
    done = squares * lanes.count

    def square(s: Expr) -> tirx.Stmt:
        code = Code(lanes)
        places = [at + (s * lanes.count + i) * width for i in range(lanes.count)]
        loaded = [code.name("sum", lanes.load(sums, place) * factor) for place in places]
        for row, column in zip(rows, transpose(code, loaded), strict=True):
            code.add(plan.store(a.output, column, row + s * lanes.count, lanes.count))
        return code.body()

    def rest(c: Expr) -> tirx.Stmt:
        code = Code(lanes)
        here = code.bind("here", at + (c + done) * width)
        code.add(lanes.store(sums, lanes.load(sums, here) * factor, here))
        for r, row in enumerate(rows):
            value = tirx.BufferLoad(sums, [here + r])
            to = row + (c + done) * a.output.step
            code.add(plan.store(a.output, value, to, lanes=1))
        return code.body()

    statements = []
    if squares:
        statements.append(loop(index(squares), square, "square"))
    if done < a.value_depth:
        statements.append(loop(index(a.value_depth - done), rest, "channel"))
    return sequence(statements)
