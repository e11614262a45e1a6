"""A block of queries whose scores and sums are products in matrix tiles (`kernels.amx`)."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx import instructions as tiles
from sam_tvm.kernels.amx.instructions import BLOCK, TILE
from sam_tvm.kernels.amx.multiplication import Operands, multiply
from sam_tvm.kernels.amx.parts import pair_pieces, products_of
from sam_tvm.kernels.attention.block import Block
from sam_tvm.kernels.attention.plan import round_up
from sam_tvm.kernels.attention.tile_operands import load_queries
from sam_tvm.kernels.expressions import divide
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, index

_BLOCK_KEYS = 8  # keys whose scores are compared with each other before the largest so far waits


@dataclass(frozen=True)
class TileBlock(Block):
    """Emits what happens to one block."""

    @property
    def _products(self) -> tuple:
        return products_of(self.plan.tile.parts, self.plan.tile.parts)

    @property
    def _queries_start(self) -> Expr:
        plan = self.plan
        return self.slot * (plan.tile.parts * plan.key_words * plan.tile.width)

    def _load_queries(self, at: Expr) -> tirx.Stmt:
        return load_queries(self.plan, self.memory.queries, at, self.head, self.first, self.vectors)

    def _multiply(
        self, y: tuple[Var, Expr, int, int], x: tuple[Var, Expr, int], steps: Expr
    ) -> list[tirx.Stmt]:
        """Return what adds products to the tile registers, see `multiplication.multiply`."""
        operands = Operands(*y, *x, steps)
        return [multiply((2, self.vectors), listed, operands) for listed in self._products]

    def _scores(
        self, code: Code, queries: Expr, first_key: Expr, maxima: list[Var], count: Expr
    ) -> None:
        plan, t, memory = self.plan, self.plan.tile, self.memory

        def tile(number: Expr) -> tirx.Stmt:
            inner = Code(self._lanes)
            shape, at = (2, self.vectors), inner.bind("at", number * (BLOCK * t.width))
            if plan.attention.bias_per_query:
                inner.add(tiles.load(*shape, memory.scores, at, t.width))
            else:
                inner.add(tiles.zero(*shape))
            keys = inner.bind("keys_start", number * (BLOCK * plan.key_row))
            inner.add(
                *self._multiply(
                    (memory.keys, keys, plan.key_row, plan.key_part),
                    (memory.queries, queries, plan.key_words * t.width),
                    index(plan.key_words // TILE),
                ),
                tiles.store(*shape, memory.scores, at, t.width),
            )
            return inner.body()

        code.add(loop(divide(round_up(count, BLOCK), BLOCK), tile, "tile"))
        whole = divide(round_up(count, BLOCK), _BLOCK_KEYS)
        code.add(loop(whole, lambda step: self._compare(step, first_key, maxima), "step"))

    def _compare(self, step: Expr, first_key: Expr, maxima: list[Var]) -> tirx.Stmt:
        """Add to some keys' scores what is not in them yet, and keep the largest."""
        plan, t, lanes, memory = self.plan, self.plan.tile, self._lanes, self.memory
        code = Code(lanes)
        found: list[list[Expr]] = [[] for _ in maxima]
        for i in range(_BLOCK_KEYS):
            key = code.bind("key", step * _BLOCK_KEYS + i)
            changes = plan.attention.causal is not None
            seen = code.bind("seen", plan.clamp(first_key + key, plan.attention.keys, t.keys))
            bias = self._key_bias(code, seen)
            for v in range(self.vectors):
                at = key * t.width + v * lanes.count
                score = lanes.load(memory.scores, at)
                if bias is not None:
                    score = score + bias
                if changes:
                    score = self._hide_later(score, v, seen)
                if changes or bias is not None:
                    score = code.name("score", score)
                    code.add(lanes.store(memory.scores, score, at))
                found[v].append(score)
        for maximum, scores in zip(maxima, found, strict=True):
            while len(scores) > 1:
                scores = [tirx.max(*pair) for pair in zip(scores[::2], scores[1::2], strict=True)]
            code.set(maximum, tirx.max(code.get(maximum), *scores))
        return code.body()

    def _store_weights(
        self, code: Code, weights: list[Expr], step: Expr, v: int, places: list[Expr]
    ) -> None:
        t, lanes, plan = self.plan.tile, self._lanes, self.plan
        at = step * t.width + v * lanes.count
        for p, stored in enumerate(pair_pieces(t.parts, *weights)):
            to = at + p * (plan.value_words * t.width)
            code.add(lanes.store(self.memory.weights, stored, to))

    def _sums(self, code: Code, sums: Expr, decays: list[Expr], count: Expr) -> None:
        plan, t, lanes, memory = self.plan, self.plan.tile, self._lanes, self.memory
        steps = code.bind("steps", divide(plan.weighed(count), BLOCK))

        def tile(number: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            shape = (2, self.vectors)
            inner.add(tiles.zero(*shape))
            values = inner.bind("values_start", number * (BLOCK * plan.value_row))
            inner.add(
                *self._multiply(
                    (memory.values, values, plan.value_row, plan.value_part),
                    (memory.weights, index(0), plan.value_words * t.width),
                    steps,
                ),
                tiles.store(*shape, memory.products, index(0), t.width),
            )

            def channel(c: Expr) -> tirx.Stmt:
                add = Code(lanes)
                for v in range(self.vectors):
                    offset = c * t.width + v * lanes.count
                    at = sums + number * (BLOCK * t.width) + offset
                    total = lanes.load(memory.sums, at) * decays[v]
                    total = total + lanes.load(memory.products, offset)
                    add.add(lanes.store(memory.sums, total, at))
                return add.body()

            inner.add(loop(index(BLOCK), channel, "channel"))
            return inner.body()

        code.add(loop(index(plan.value_depth // BLOCK), tile, "tile"))
