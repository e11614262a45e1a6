"""A kernel about to be written: the problem, its tile, and where a task keeps what."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.instructions import TILE, spread
from sam_tvm.kernels.attention.problem import Attention, Tile
from sam_tvm.kernels.bfloat16 import (
    add_dot_pairs,
    pair_halves,
    pair_lanes,
    round_pair,
    round_pairs,
    widened,
    words_of,
)
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import UNROLLED
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.vectors import Code, Lanes, index


@dataclass(frozen=True)
class Memory:
    """A task's scratch memory: flat buffers of float32, or of uint32 for pairs of bfloat16.

    Attributes:
        queries: [slot][channel][query], scaled; in bfloat16 [slot][pair of channels][query].
        sums: [slot][output channel][query] float32, not divided by the totals yet.
        maxima: [slot][query] float32, the largest score so far, as `Weighing` has it.
        totals: [slot][query] float32, the sum of e**(score - maximum).
        keys: [key][channel], or [key][pair of channels].
        values: [strip][key][lane], or [strip][pair of keys][lane], for strips of channels.
        scores: [key][query] float32.
        weights: what the values are multiplied with: the scores' own memory, or [pair of
            keys][query].
        products: of matrix tiles, before they are added to the sums; else one element.

    """

    queries: Var
    sums: Var
    maxima: Var
    totals: Var
    keys: Var
    values: Var
    scores: Var
    weights: Var
    products: Var


@dataclass(frozen=True)
class Plan:
    """What the parts of a kernel need to know.

    Attributes:
        attention: the problem.
        tile: its tile.
        buffers: the function's tensors, flat; float32, or uint16 that hold bfloat16.

    """

    attention: Attention
    tile: Tile
    buffers: tuple[Var, ...]

    @property
    def lanes(self) -> Lanes:
        """Vectors as wide as the tile's."""
        return Lanes(self.tile.lanes)

    @property
    def group(self) -> int:
        """Channels, or keys, that share a word in scratch: 2 in bfloat16."""
        return 2 if self.tile.bfloat16 or self.tile.parts else 1

    @property
    def word(self) -> str:
        """The type of the operands of products in scratch."""
        return "uint32" if self.group == 2 else "float32"

    @property
    def key_words(self) -> int:
        """Words of a query or key in scratch; whole tiles of them."""
        words = -(-self.attention.depth // self.group)
        return -(-words // TILE) * TILE if self.tile.parts else words

    @property
    def key_row(self) -> int:
        """Words from key to key in scratch; in tiles an odd number of cache lines."""
        return spread(self.key_words) if self.tile.parts else self.key_words

    @property
    def key_part(self) -> int:
        """Words from part to part of the keys."""
        return self.tile.keys * self.key_row

    @property
    def value_row(self) -> int:
        """Words from channel to channel of the values in tiles."""
        return spread(self.value_words)

    @property
    def value_part(self) -> int:
        """Words from part to part of the values in tiles."""
        return self.value_depth * self.value_row

    @property
    def value_words(self) -> int:
        """Rows of a strip of values in scratch."""
        return -(-self.tile.keys // self.group)

    @property
    def strips(self) -> int:
        """Strips of values."""
        return -(-self.value_depth // self.tile.lanes)

    @property
    def value_depth(self) -> int:
        """Output channels, rounded up to whole register tiles."""
        return -(-self.attention.value_depth // self.tile.rows) * self.tile.rows

    def multiply_add(self, total: Expr, scalar: Expr, vector: Expr) -> Expr:
        """Return `total + scalar * vector`, or the like over pairs."""
        if self.tile.bfloat16:
            return add_dot_pairs(total, scalar, vector)
        return total + scalar * vector

    @property
    def unit(self) -> float:
        """What scores are multiplied with in exponents: those of 2 if it has powers, else of e."""
        return math.log2(math.e) if self.tile.has_powers else 1.0

    @property
    def copies_queries(self) -> bool:
        """Whether queries, rounded already, are copied as they are, and their scores scaled.

        The largest score is the same one before. What a bias is added to is scaled.
        """
        a = self.attention
        return self._holds_halves(a.query) and a.bias is None and a.scale > 0

    @property
    def query_scale(self) -> float:
        """What queries are multiplied with when they are copied."""
        return 1.0 if self.copies_queries else self.attention.scale

    def weighed(self, count: Expr) -> Expr:
        """Return how many keys of a pass are weighed: whole steps of the loop that sums values."""
        return round_up(count, self.tile.rows if self.tile.parts else UNROLLED * self.group)

    def word_of(self, values: list[Expr]) -> Expr:
        """Return the word that holds one or two scalars."""
        return round_pair(*values) if self.tile.bfloat16 else values[0]

    def read(self, operand: Operand, at: Expr, lanes: int = 1) -> Expr:
        """Read the element of an operand at a place in its buffer, or a vector from there on."""
        value = Lanes(lanes).load(self.buffers[operand.argument], at)
        return widened(value) if self._holds_halves(operand) else value

    def load(self, operand: Operand, at: Expr) -> Expr:
        """Read a vector of an operand."""
        return self.read(operand, at, self.tile.lanes)

    def load_pairs(self, operand: Operand, at: Expr) -> Expr:
        """Read a vector of an operand as pairs of bfloat16, half as many words."""
        if self._holds_halves(operand):
            halves = self.lanes.load(self.buffers[operand.argument], at)
            return tirx.reinterpret(f"uint32x{self.tile.lanes // 2}", halves)
        return round_pairs(self.load(operand, at))

    def load_words(self, operand: Operand, at: Expr) -> Expr:
        """Read a vector of words of an operand that is rounded: two elements in each."""
        halves = Lanes(2 * self.tile.lanes).load(self.buffers[operand.argument], at)
        return words_of(halves)

    def pair_rows(self, operand: Operand, even: Expr, odd: Expr) -> Expr:
        """Read vectors from two places of an operand as pairs of bfloat16, one of each."""
        if self._holds_halves(operand):
            buffer = self.buffers[operand.argument]
            return pair_halves(self.lanes.load(buffer, even), self.lanes.load(buffer, odd))
        return pair_lanes(self.load(operand, even), self.load(operand, odd))

    def store(self, operand: Operand, value: Expr, at: Expr, lanes: int) -> tirx.Stmt:
        """Write a vector to an operand's buffer from a place on, or one element."""
        if self._holds_halves(operand):
            value = self._rounded(value, lanes)
        return Lanes(lanes).store(self.buffers[operand.argument], value, at)

    def _holds_halves(self, operand: Operand) -> bool:
        """Whether an operand's buffer holds bfloat16."""
        return self.buffers[operand.argument].dtype == "uint16"

    def _rounded(self, value: Expr, lanes: int) -> Expr:
        if lanes == 1:
            return tirx.Cast("uint16", round_pair(value, value) & tirx.const(0xFFFF, "uint32"))
        return tirx.reinterpret(f"uint16x{lanes}", round_pairs(value))

    def element(self, operand: Operand, position: tuple[Expr | int, ...]) -> Expr:
        """Read one element of an operand."""
        return self.read(operand, operand.at(*position))

    def clamp(self, position: Expr, size: Expr, multiple: int) -> Expr:
        """Return a position that is inside: beyond the end the last one comes again.

        Args:
            position: below `size` rounded up to a multiple.
            size: how many there are.
            multiple: what positions are counted in.

        """
        known = constant_value(size)
        if known is not None and known % multiple == 0:
            return position
        return tirx.min(position, size - 1)

    def allocate(self, code: Code) -> Memory:
        """Add the allocations of a task's memory."""
        t = self.tile
        slots = t.slots + (1 if t.rest else 0)

        def buffer(name: str, size: int, dtype: str = "float32") -> Var:
            found, statements = scratch(index(size), dtype, name)
            code.add(*statements)
            return found

        parts = max(t.parts, 1)
        scores = buffer("scores", t.keys * t.width)
        values = self.strips * self.value_words * t.lanes
        return Memory(
            queries=buffer("queries", slots * parts * self.key_words * t.width, self.word),
            sums=buffer("sums", slots * self.value_depth * t.width),
            maxima=buffer("maxima", slots * t.width),
            totals=buffer("totals", slots * t.width),
            keys=buffer("keys", parts * t.keys * self.key_row, self.word),
            values=buffer("values", parts * self.value_part if t.parts else values, self.word),
            scores=scores,
            weights=buffer("weights", parts * self.value_words * t.width, self.word)
            if self.group == 2
            else scores,
            products=buffer("products", t.rows * t.width if t.parts else 1),
        )


def round_up(count: Expr, multiple: int) -> Expr:
    """Return the smallest multiple that is not below a size."""
    if multiple == 1:
        return count
    return tirx.truncdiv(count + (multiple - 1), index(multiple)) * multiple
