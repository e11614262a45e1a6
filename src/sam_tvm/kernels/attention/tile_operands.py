"""Operands of attention in matrix tiles (`kernels.amx`): bfloat16, rounded once or in three parts.

Scores are keys by queries: keys are the tiles' rows, [part][key][pairs of channels], and queries
their columns, [part][pair of channels][query]. Sums are channels by queries: values lie as
[part][channel][pairs of keys]. What fills up a tile is zero where it would be added.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.parts import pair_parts, parts_of
from sam_tvm.kernels.attention.plan import Memory, Plan, round_up
from sam_tvm.kernels.attention.queries import Head, copy_words, row_starts
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.vectors import Code, index, prefetch, transpose

_Gather = Callable[[Code, Expr], Expr]
_PAIRS = 16  # of a vector of words
_AHEAD = 16  # rows that are fetched beforehand; the hardware does not foresee rows a page apart


def _foresee(
    plan: Plan, code: Code, operand: Operand, head: Head, places: list[Expr]
) -> Callable[[Expr], list[tirx.Stmt]]:
    """Return what makes hints that vectors of these positions will be read, so far into them."""
    starts = [operand.foreseen(*head, place, 0) for place in places]
    known = [code.bind("soon", start) for start in starts if start is not None]
    return lambda on: [prefetch(plan.buffers[operand.argument], start + on) for start in known]


def _gathered(code: Code, read: Callable[[int], Expr | None]) -> Expr:
    """Return a vector of elements read one by one; where there is none, 0."""
    vector = code.register("gathered")
    for i in range(code.lanes.count):
        value = read(i)
        value = tirx.FloatImm("float32", 0.0) if value is None else value
        code.add(tirx.BufferStore(vector, value, [index(i)]))
    return code.get(vector)


def load_keys(plan: Plan, memory: Memory, head: Head, first: Expr, count: Expr) -> tirx.Stmt:
    """Copy keys; as many as whole tiles have.

    Args:
        plan: the kernel.
        memory: its `keys` are written.
        head: number of the batch's item, and of the head in it.
        first: the first key.
        count: how many there are.

    """
    a, lanes = plan.attention, plan.lanes
    words = lanes.count // 2
    whole = a.depth // lanes.count if a.key.has_vectors else 0

    def store(code: Code, parts: list[Expr], at: Expr) -> None:
        for p, stored in enumerate(parts):
            to = tirx.Ramp(at + p * plan.key_part, index(1), words)
            code.add(tirx.BufferStore(memory.keys, stored, [to]))

    def one(k: Expr) -> tirx.Stmt:
        code = Code(lanes)
        key = code.bind("key", plan.clamp(first + k, a.keys, plan.tile.keys))
        row = code.bind("row", a.key.at(*head, key, 0))
        soon = _foresee(plan, code, a.key, head, [first + k + _AHEAD])
        at = code.bind("at", k * plan.key_row)
        if whole:

            def vector(v: Expr) -> tirx.Stmt:
                inner = Code(lanes)
                inner.add(*soon(v * lanes.count))
                here = row + v * lanes.count
                if plan.tile.parts == 1:
                    parts = [plan.load_pairs(a.key, here)]
                else:
                    parts = parts_of(plan.tile.parts, inner.name("value", plan.load(a.key, here)))
                store(inner, parts, at + v * words)
                return inner.body()

            code.add(loop(index(whole), vector, "vector"))
        for v in range(whole, plan.key_words // words):

            def element(i: int, v: int = v) -> Expr | None:
                channel = v * lanes.count + i
                inside = channel < a.depth
                return plan.element(a.key, (*head, key, channel)) if inside else None

            store(code, parts_of(plan.tile.parts, _gathered(code, element)), at + v * words)
        return code.body()

    return loop(round_up(count, plan.tile.rows), one, "key")


def load_values(plan: Plan, memory: Memory, head: Head, first: Expr, count: Expr) -> tirx.Stmt:
    """Copy the values of `count` keys from `first` on, turned around in squares of words.

    The last ones come again where whole tiles have more keys.
    """
    a, lanes = plan.attention, plan.lanes
    strips = -(-a.value_depth // lanes.count)
    per_square = 2 * _PAIRS

    def square(k: Expr) -> tirx.Stmt:
        code = Code(lanes)
        places = [first + (k * per_square + i) for i in range(per_square)]
        keys = [plan.clamp(place, a.keys, plan.tile.keys) for place in places]
        rows = [code.bind("row", a.value.at(*head, key, 0)) for key in keys]
        soon = _foresee(plan, code, a.value, head, [place + per_square for place in places])

        def strip(s: Expr | int, read: Callable[[Code, Expr, Expr], list[Expr]]) -> tirx.Stmt:
            inner = Code(lanes)
            inner.add(*soon(s * lanes.count))
            pairs = list(zip(rows[::2], rows[1::2], strict=True))
            cut = [read(inner, *pair) for pair in pairs]
            at = inner.bind("at", s * (lanes.count * plan.value_row) + k * _PAIRS)
            for p, of_pairs in enumerate(zip(*cut, strict=True)):
                words = [inner.name("pair", word, "uint32") for word in of_pairs]
                for c, column in enumerate(transpose(inner, words, "uint32")):
                    to = at + (p * plan.value_part + c * plan.value_row)
                    inner.add(lanes.store(memory.values, column, to))
            return inner.body()

        def whole_strip(s: Expr) -> tirx.Stmt:
            def read(inner: Code, even: Expr, odd: Expr) -> list[Expr]:
                places = (even + s * lanes.count, odd + s * lanes.count)
                if plan.tile.parts == 1:
                    return [plan.pair_rows(a.value, *places)]
                both = [inner.name("loaded", plan.load(a.value, place)) for place in places]
                return pair_parts(plan.tile.parts, *both)

            return strip(s, read)

        whole = a.value_depth // lanes.count if a.value.has_vectors else 0
        if whole:
            code.add(loop(index(whole), whole_strip, "strip"))
        for s in range(whole, strips):

            def gathered(inner: Code, row: Expr, s: int = s) -> Expr:
                def element(i: int) -> Expr | None:
                    channel = s * lanes.count + i
                    at = row + channel * a.value.step
                    inside = channel < a.value_depth
                    return plan.read(a.value, at) if inside else None

                return _gathered(inner, element)

            def read(inner: Code, *rows: Expr, gathered: _Gather = gathered) -> list[Expr]:
                both = [gathered(inner, row) for row in rows]
                return pair_parts(plan.tile.parts, *both)

            code.add(strip(index(s), read))
        return code.body()

    return loop(tirx.truncdiv(plan.weighed(count), index(per_square)), square, "square")


def load_queries(
    plan: Plan, target: Var, start: Expr, head: Head, first: Expr, vectors: int
) -> tirx.Stmt:
    """Copy queries, multiplied with `query_scale`.

    Args:
        plan: the kernel.
        target: scratch, [part][pair of channels][query].
        start: where the block's part of it begins.
        head: number of the batch's item, and of the head in it.
        first: the block's first query.
        vectors: how many vectors of queries.

    """
    lanes, query, width = plan.lanes, plan.attention.query, plan.tile.width
    depth = plan.attention.depth
    side = 2 * lanes.count if plan.copies_queries else lanes.count
    squares = depth // side if query.has_vectors else 0
    scale = lanes.number(plan.query_scale)

    def store(code: Code, even: Expr, odd: Expr, at: Expr) -> None:
        for p, stored in enumerate(pair_parts(plan.tile.parts, even, odd)):
            code.add(lanes.store(target, stored, at + p * (plan.key_words * width)))

    def one_vector(v: Expr) -> tirx.Stmt:
        code = Code(lanes)
        at = code.bind("at", start + v * lanes.count)
        here = first + v * lanes.count
        rows = row_starts(plan, code, query, head, here, plan.attention.queries)
        places = [here + (lane + _AHEAD) for lane in range(lanes.count)]
        soon = _foresee(plan, code, query, head, places)

        def square(s: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            inner.add(*soon(s * side))
            if plan.copies_queries:
                inner.add(copy_words(plan, target, at, rows, s))
                return inner.body()
            loaded = [
                inner.name("loaded", plan.load(query, row + s * lanes.count) * scale)
                for row in rows
            ]
            columns = transpose(inner, loaded)
            for i in range(lanes.count // 2):
                to = at + (s * (lanes.count // 2) + i) * width
                store(inner, columns[2 * i], columns[2 * i + 1], to)
            return inner.body()

        if squares:
            code.add(loop(index(squares), square, "square"))
        for word in range(squares * side // 2, plan.key_words):
            pair = []
            for channel in (2 * word, 2 * word + 1):

                def element(lane: int, channel: int = channel) -> Expr | None:
                    place = rows[lane] + channel * query.step
                    return plan.read(query, place) if channel < depth else None

                pair.append(code.name("channel", _gathered(code, element) * scale))
            store(code, *pair, at + word * width)
        return code.body()

    return loop(index(vectors), one_vector, "v")
