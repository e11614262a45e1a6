"""One block of queries in one pass over keys: scores, their weights, weighted sums of values."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.attention.keys import load_bias
from sam_tvm.kernels.attention.plan import Memory, Plan, round_up
from sam_tvm.kernels.attention.queries import Head, load_queries, store_output
from sam_tvm.kernels.attention.softmax import Weighing
from sam_tvm.kernels.bfloat16 import pair_lanes
from sam_tvm.kernels.expressions import constant_value, divide, remainder
from sam_tvm.kernels.loops import loop, unrolled
from sam_tvm.kernels.vectors import Code, Lanes, index

_INFINITY = float("inf")
_ABREAST = 2  # keys whose weights are computed side by side, so that the vector unit never waits


@dataclass(frozen=True)
class Block:
    """Emits what happens to one block.

    Attributes:
        plan: the kernel.
        memory: the task's scratch memory.
        head: number of the batch's item, and of the head in it.
        slot: which part of the memory is the block's.
        first: the block's first query.
        vectors: how many vectors of queries it has.

    """

    plan: Plan
    memory: Memory
    head: Head
    slot: Expr
    first: Expr
    vectors: int

    @property
    def _lanes(self) -> Lanes:
        return self.plan.lanes

    @property
    def _weighing(self) -> Weighing:
        return Weighing(self.plan)

    def _state(self, v: int) -> Expr:
        """Return where a vector of the block's maxima and totals is."""
        return self.slot * self.plan.tile.width + v * self._lanes.count

    @property
    def _queries_start(self) -> Expr:
        return self.slot * (self.plan.key_words * self.plan.tile.width)

    @property
    def _sums_start(self) -> Expr:
        return self.slot * (self.plan.value_depth * self.plan.tile.width)

    def begin(self) -> tirx.Stmt:
        """Return what happens before the first pass."""
        lanes, memory = self._lanes, self.memory
        code = Code(lanes)
        at = code.bind("queries_start", self._queries_start)
        code.add(self._load_queries(at))
        for v in range(self.vectors):
            code.add(lanes.store(memory.maxima, lanes.number(-_INFINITY), self._state(v)))
            code.add(lanes.store(memory.totals, lanes.number(0.0), self._state(v)))
        start = code.bind("sums_start", self._sums_start)

        def clear(cell: Expr) -> tirx.Stmt:
            return lanes.store(memory.sums, lanes.number(0.0), start + cell * lanes.count)

        code.add(loop(index(self.plan.value_depth * self.plan.tile.vectors), clear, "cell"))
        return code.body()

    def _load_queries(self, at: Expr) -> tirx.Stmt:
        return load_queries(self.plan, self.memory.queries, at, self.head, self.first, self.vectors)

    def end(self) -> tirx.Stmt:
        """Return what happens after the last pass."""
        lanes = self._lanes
        code = Code(lanes)
        zero, factors = lanes.number(0.0), []
        for v in range(self.vectors):
            total = code.name("total", lanes.load(self.memory.totals, self._state(v)))
            # The total is 0 only if no key may be seen: the largest score's own weight is 1.
            inverse = tirx.Select(tirx.EQ(total, zero), zero, lanes.number(1.0) / total)
            factors.append(code.name("factor", inverse))
        start = code.bind("sums_start", self._sums_start)
        code.add(store_output(self.plan, self.memory.sums, start, factors, self.head, self.first))
        return code.body()

    def one_pass(self, first_key: Expr, count: Expr) -> tirx.Stmt:
        """Return what happens in a pass over `count` keys from `first_key` on."""
        a, lanes, memory = self.plan.attention, self._lanes, self.memory
        weighing, code = self._weighing, Code(lanes)
        if a.bias_per_query:
            keys = (first_key, count)
            code.add(load_bias(self.plan, memory, self.head, self.first, keys, self.vectors))
        maxima = [code.register("maximum") for _ in range(self.vectors)]
        for v, maximum in enumerate(maxima):
            before = lanes.load(memory.maxima, self._state(v))
            code.set(maximum, lanes.number(-_INFINITY) if weighing.scales_maxima else before)
        queries = code.bind("queries_start", self._queries_start)
        self._scores(code, queries, first_key, maxima, count)
        decays = self._weigh(code, maxima, count)
        sums = code.bind("sums_start", self._sums_start)
        self._sums(code, sums, decays, count)
        if a.causal is None:
            return code.body()
        visible = first_key <= self.first + (self.vectors * lanes.count - 1) + a.causal
        return tirx.IfThenElse(visible, code.body(), None)

    # -- scores -------------------------------------------------------------------------------

    def _scores(
        self, code: Code, queries: Expr, first_key: Expr, maxima: list[Var], count: Expr
    ) -> None:
        """Add what leaves the scores of `count` keys in memory, and the largest in `maxima`."""
        rows = self.plan.tile.rows
        tiles = divide(round_up(count, rows), rows)
        code.add(
            loop(tiles, lambda tile: self._score_tile(tile, queries, first_key, maxima), "tile")
        )

    def _cells(self, code: Code) -> list[list[Var]]:
        """Declare the registers of a tile of sums, and clear them."""
        cells = [
            [code.register("cell") for _ in range(self.vectors)] for _ in range(self.plan.tile.rows)
        ]
        for cell in (cell for row in cells for cell in row):
            code.set(cell, self._lanes.number(0.0))
        return cells

    def _score_tile(
        self, tile: Expr, queries: Expr, first_key: Expr, maxima: list[Var]
    ) -> tirx.Stmt:
        """Multiply the block's queries with as many keys as registers have room for."""
        plan, t, lanes, memory = self.plan, self.plan.tile, self._lanes, self.memory
        code = Code(lanes)
        cells = self._cells(code)
        keys = code.bind("keys_start", tile * (t.rows * plan.key_words))

        def step(c: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            at = queries + c * t.width
            loads = [lanes.load(memory.queries, at + v * lanes.count) for v in range(self.vectors)]
            vectors = [inner.name("query", load, plan.word) for load in loads]
            for r, row in enumerate(cells):
                key = tirx.BufferLoad(memory.keys, [keys + (r * plan.key_words) + c])
                key = inner.name("key", lanes.splat(key), plan.word)
                for cell, query in zip(row, vectors, strict=True):
                    inner.set(cell, plan.multiply_add(inner.get(cell), key, query))
            return inner.body()

        code.add(unrolled(index(plan.key_words), step, "channel"))
        for r, row in enumerate(cells):
            key = code.bind("key", tile * t.rows + r)
            seen = code.bind("seen", plan.clamp(first_key + key, plan.attention.keys, t.keys))
            bias = self._key_bias(code, seen)
            for v, cell in enumerate(row):
                at = key * t.width + v * lanes.count
                score = code.get(cell) if bias is None else code.get(cell) + bias
                if plan.attention.bias_per_query:
                    score = score + lanes.load(memory.scores, at)
                if plan.attention.causal is not None:
                    score = self._hide_later(score, v, seen)
                code.set(cell, score)
                code.add(lanes.store(memory.scores, code.get(cell), at))
                code.set(maxima[v], tirx.max(code.get(maxima[v]), code.get(cell)))
        return code.body()

    def _key_bias(self, code: Code, key: Expr) -> Expr | None:
        """Return the bias of a key, if it is the same for all queries."""
        bias = self.plan.attention.bias
        if bias is None or self.plan.attention.bias_per_query:
            return None
        value = self.plan.element(bias, (*self.head, 0, key))
        return code.name("bias", self._lanes.splat(value))

    def _hide_later(self, score: Expr, v: int, key: Expr) -> Expr:
        """Return the score where the query may see the key, else -infinity."""
        lanes, queries = self._lanes, self.plan.attention.queries
        first = self.first + v * lanes.count
        beyond = lanes.splat(tirx.Cast("int32", key - (first + self.plan.attention.causal)))
        lane = tirx.Ramp(tirx.IntImm("int32", 0), tirx.IntImm("int32", 1), lanes.count)
        if constant_value(remainder(queries, lanes.count)) != 0:  # the last query may come again
            lane = tirx.min(lane, lanes.splat(tirx.Cast("int32", queries - 1 - first)))
        return tirx.Select(beyond <= lane, score, lanes.number(-_INFINITY))

    # -- weights ------------------------------------------------------------------------------

    def _weigh(self, code: Code, maxima: list[Var], count: Expr) -> list[Expr]:
        """Turn scores into weights e**(score - maximum) and add them to the totals.

        Returns:
            What earlier sums and totals are multiplied with, as their maximum was smaller.

        """
        lanes, memory, weighing = self._lanes, self.memory, self._weighing
        lowest = lanes.number(-_INFINITY)
        bases, decays, totals = [], [], []
        for v, maximum in enumerate(maxima):
            before = lanes.load(memory.maxima, self._state(v))
            top = code.get(maximum)
            if weighing.scales_maxima:
                top = code.name("top", tirx.max(before, top * lanes.number(weighing.factor)))
            # -infinity minus itself would be NaN.
            base = code.name("base", tirx.Select(top > lowest, top, lanes.number(0.0)))
            decay = before - base if weighing.scales_maxima else weighing.exponent(before, base)
            decays.append(weighing.power(code, decay))
            code.add(lanes.store(memory.maxima, top, self._state(v)))
            bases.append(base)
            totals.append(code.register("total"))
            code.set(totals[v], lanes.number(0.0))
        weighed = self.plan.weighed(count)
        if constant_value(weighed - count) != 0:
            code.add(loop(weighed - count, lambda k: self._hide(count + k), "key"))
        code.add(
            loop(
                divide(weighed, _ABREAST),
                lambda step: self._weigh_keys(step, bases, totals),
                "step",
            )
        )
        for v, total in enumerate(totals):
            before = lanes.load(memory.totals, self._state(v)) * decays[v]
            code.add(lanes.store(memory.totals, before + code.get(total), self._state(v)))
        return decays

    def _hide(self, key: Expr) -> tirx.Stmt:
        code = Code(self._lanes)
        for v in range(self.vectors):
            at = key * self.plan.tile.width + v * self._lanes.count
            code.add(self._lanes.store(self.memory.scores, self._lanes.number(-_INFINITY), at))
        return code.body()

    def _weigh_keys(self, step: Expr, bases: list[Expr], totals: list[Var]) -> tirx.Stmt:
        t, lanes, memory, weighing = self.plan.tile, self._lanes, self.memory, self._weighing
        code = Code(lanes)
        for v, total in enumerate(totals):
            places = [(step * _ABREAST + i) * t.width + v * lanes.count for i in range(_ABREAST)]
            weights = []
            for at in places:
                score = lanes.load(memory.scores, at)
                weights.append(weighing.power(code, weighing.exponent(score, bases[v])))
            self._store_weights(code, weights, step, v, places)
            code.set(total, code.get(total) + (weights[0] + weights[1]))
        return code.body()

    def _store_weights(
        self, code: Code, weights: list[Expr], step: Expr, v: int, places: list[Expr]
    ) -> None:
        """Add what stores the weights of neighbouring keys, for one vector of queries."""
        t, lanes, memory = self.plan.tile, self._lanes, self.memory
        if t.bfloat16:
            at = step * t.width + v * lanes.count
            code.add(lanes.store(memory.weights, pair_lanes(*weights), at))
            return
        for at, weight in zip(places, weights, strict=True):
            code.add(lanes.store(memory.weights, weight, at))

    # -- sums of values -----------------------------------------------------------------------

    def _sums(self, code: Code, sums: Expr, decays: list[Expr], count: Expr) -> None:
        """Add what adds the weighted values of `count` keys to the sums."""
        tiles = index(self.plan.value_depth // self.plan.tile.rows)
        code.add(loop(tiles, lambda tile: self._sum_tile(tile, sums, decays, count), "tile"))

    def _sum_tile(self, tile: Expr, sums: Expr, decays: list[Expr], count: Expr) -> tirx.Stmt:
        """Add the weighted values of as many channels as registers have room for.

        The pass's sum starts at 0: added to the earlier ones as a whole, it errs less.
        """
        plan, t, lanes, memory = self.plan, self.plan.tile, self._lanes, self.memory
        code = Code(lanes)
        cells = self._cells(code)
        strip = plan.value_words * lanes.count
        places = []
        for first in range(0, t.rows, lanes.count):
            channel = tile * t.rows + first
            at = divide(channel, lanes.count) * strip + remainder(channel, lanes.count)
            at = code.bind("values_start", at)
            places += [at + r for r in range(min(lanes.count, t.rows))]

        def step(k: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            loads = [
                lanes.load(memory.weights, k * t.width + v * lanes.count)
                for v in range(self.vectors)
            ]
            weights = [inner.name("weight", load, plan.word) for load in loads]
            for place, row in zip(places, cells, strict=True):
                value = tirx.BufferLoad(memory.values, [place + k * lanes.count])
                value = inner.name("value", lanes.splat(value), plan.word)
                for cell, weight in zip(row, weights, strict=True):
                    inner.set(cell, plan.multiply_add(inner.get(cell), value, weight))
            return inner.body()

        code.add(unrolled(divide(plan.weighed(count), plan.group), step, "key"))
        for r, row in enumerate(cells):
            for v, cell in enumerate(row):
                at = sums + (tile * t.rows + r) * t.width + v * lanes.count
                before = lanes.load(memory.sums, at) * decays[v]
                code.add(lanes.store(memory.sums, before + code.get(cell), at))
        return code.body()
