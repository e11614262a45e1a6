"""Keys, values and biases of one pass into scratch."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.attention.plan import Memory, Plan, round_up
from sam_tvm.kernels.attention.queries import Head, channel_word, row_starts
from sam_tvm.kernels.expressions import constant_value, divide, remainder
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, index, prefetch, transpose

_AHEAD = 64  # elements of a row of biases that are fetched beforehand: four cache lines


def load_keys(plan: Plan, memory: Memory, head: Head, first: Expr, count: Expr) -> tirx.Stmt:
    """Copy keys one after another; as many as whole register tiles have.

    Args:
        plan: the kernel.
        memory: its `keys` are written.
        head: number of the batch's item, and of the head in it.
        first: the first key.
        count: how many there are.

    """
    a, lanes, group = plan.attention, plan.lanes, plan.group
    vectors = a.depth // lanes.count if a.key.has_vectors else 0
    words = lanes.count // group

    def one(k: Expr) -> tirx.Stmt:
        code = Code(lanes)
        key = code.bind("key", plan.clamp(first + k, a.keys, plan.tile.keys))
        row = code.bind("row", a.key.at(*head, key, 0))
        at = code.bind("at", k * plan.key_words)

        def vector(v: Expr) -> tirx.Stmt:
            here = row + v * lanes.count
            if group == 1:
                return lanes.store(memory.keys, plan.load(a.key, here), at + v * words)
            to = tirx.Ramp(at + v * words, index(1), words)
            return tirx.BufferStore(memory.keys, plan.load_pairs(a.key, here), [to])

        def rest(w: Expr) -> tirx.Stmt:
            word = w + vectors * words
            value = channel_word(plan, lambda c: plan.element(a.key, (*head, key, c)), word * group)
            return tirx.BufferStore(memory.keys, value, [at + word])

        if vectors:
            code.add(loop(index(vectors), vector, "vector"))
        if vectors * words < plan.key_words:
            code.add(loop(index(plan.key_words - vectors * words), rest, "word"))
        return code.body()

    return loop(round_up(count, plan.tile.rows), one, "key")


def load_values(plan: Plan, memory: Memory, head: Head, first: Expr, count: Expr) -> tirx.Stmt:
    """Copy the values of `count` keys from `first` on, in strips of one vector of channels.

    The last ones come again where whole steps of the loop that sums them have more.
    """
    a, lanes, group = plan.attention, plan.lanes, plan.group
    vectors = a.value_depth // lanes.count if a.value.has_vectors else 0
    done = vectors * lanes.count
    strip = plan.value_words * lanes.count

    def one(k: Expr) -> tirx.Stmt:
        code = Code(lanes)
        keys = [
            code.bind("key", plan.clamp(first + (k * group + i), a.keys, plan.tile.keys))
            for i in range(group)
        ]
        rows = [code.bind("row", a.value.at(*head, key, 0)) for key in keys]
        at = code.bind("at", k * lanes.count)

        def vector(v: Expr) -> tirx.Stmt:
            places = [row + v * lanes.count for row in rows]
            read = plan.load if group == 1 else plan.pair_rows
            value = read(a.value, *places)
            return lanes.store(memory.values, value, at + v * strip)

        def rest(c: Expr) -> tirx.Stmt:
            channel = c + done
            value = plan.word_of([plan.element(a.value, (*head, key, channel)) for key in keys])
            if plan.strips * lanes.count != a.value_depth:
                zero = tirx.const(0, plan.word)
                value = tirx.if_then_else(channel < a.value_depth, value, zero)
            to = divide(channel, lanes.count) * strip + remainder(channel, lanes.count)
            return tirx.BufferStore(memory.values, value, [at + to])

        if vectors:
            code.add(loop(index(vectors), vector, "strip"))
        if done < a.value_depth:
            code.add(loop(index(plan.strips * lanes.count - done), rest, "channel"))
        return code.body()

    return loop(divide(plan.weighed(count), group), one, "key")


def load_bias(
    plan: Plan, memory: Memory, head: Head, first: Expr, keys: tuple[Expr, Expr], vectors: int
) -> tirx.Stmt:
    """Copy a bias that differs between queries to where the scores go.

    Args:
        plan: the kernel.
        memory: its `scores` are written.
        head: number of the batch's item, and of the head in it.
        first: the block's first query.
        keys: the first key, and how many there are.
        vectors: how many vectors of queries.

    """
    a, lanes, width = plan.attention, plan.lanes, plan.tile.width
    bias, (first_key, count) = a.bias, keys
    source = plan.buffers[bias.argument]

    def one_vector(v: Expr) -> tirx.Stmt:
        code = Code(lanes)
        query = code.bind("query", first + v * lanes.count)
        squares = code.bind("squares", divide(count, lanes.count) if bias.has_vectors else 0)
        rows = row_starts(plan, code, bias, head, query, a.queries)

        def square(s: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            at = inner.bind("at", first_key + s * lanes.count)
            # As many streams as lanes, a page apart, are too many for the hardware to foresee.
            inner.add(*(prefetch(source, row + at + _AHEAD) for row in rows))
            loaded = [inner.name("loaded", lanes.load(source, row + at)) for row in rows]
            for i, column in enumerate(transpose(inner, loaded)):
                to = (s * lanes.count + i) * width + v * lanes.count
                inner.add(lanes.store(memory.scores, column, to))
            return inner.body()

        def rest(k: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            at = inner.bind("at", squares * lanes.count + k)
            key = inner.bind("key", plan.clamp(first_key + at, a.keys, plan.tile.keys))
            to = inner.bind("to", at * width + v * lanes.count)
            for r, row in enumerate(rows):
                value = tirx.BufferLoad(source, [row + key * bias.step])
                inner.add(tirx.BufferStore(memory.scores, value, [to + r]))
            return inner.body()

        left = round_up(count, plan.tile.rows) - squares * lanes.count
        if constant_value(squares) != 0:
            code.add(loop(squares, square, "square"))
        if constant_value(left) != 0:
            code.add(loop(left, rest, "key"))
        return code.body()

    return loop(index(vectors), one_vector, "v")
