"""What an attention kernel is made for: sizes, where the operands lie, and the tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, divide, divide_up
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.vectors import index

BLOCK_VECTORS = 3  # vectors of queries in a block: with 8 keys, 24 sums in 32 registers
_BLOCK_KEYS = 192  # keys per pass
_TILE_KEYS = {1: 96, 3: 576}  # in matrix tiles, by the parts of an operand
_LONG_PRODUCT = 32  # channels
_TILE_VECTORS, _TILE_ROWS = 2, 32  # of matrix tiles, two by two of which hold sums
_STATE = 96 << 10  # words of queries and sums that one task keeps in the cache
_TILE_STATE = 256 << 10  # the same in matrix tiles: such a CPU has 2 MiB for each core
_TASKS = 16  # tasks that the parallel loop should have


@dataclass(frozen=True)
class Attention:
    """One attention: softmax(scale * q k^T + bias) v, where fully masked rows give 0.

    Attributes:
        batch, heads, queries, keys: sizes; any of them may be symbolic.
        depth, value_depth: channels of a head in q and k, and in v.
        query, key, value, output, bias: where the operands lie.
        scale: what the products are multiplied with.
        causal: None, or how many keys beyond its own position a query may see.

    """

    batch: Expr
    heads: Expr
    queries: Expr
    keys: Expr
    depth: int
    value_depth: int
    query: Operand
    key: Operand
    value: Operand
    output: Operand
    bias: Operand | None
    scale: float
    causal: Expr | None

    def map(self, edit: Callable[[Expr], Expr]) -> Attention:
        """Apply `edit` to every expression."""
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Expr):
                changed[field.name] = edit(value)
            elif isinstance(value, Operand):
                changed[field.name] = value.map(edit)
        return replace(self, **changed)

    @property
    def bias_per_query(self) -> bool:
        """Whether there is a bias that differs between queries."""
        rows = () if self.bias is None else self.bias.axes[2]
        return any(constant_value(stride) != 0 for _, stride in rows)


@dataclass(frozen=True)
class Tile:
    """Sizes of the kernel's blocks.

    Attributes:
        lanes: float32 elements in a vector.
        vectors: vectors of queries in a block.
        rows: keys (or output channels) whose sums are in registers at once.
        keys: keys per pass, a multiple of `rows`.
        whole: blocks of queries; what is left of the queries makes a block of `rest` vectors.
        rest: vectors of the last, narrow block, 0 if there is never one. If the number of queries
            is symbolic, it is there only sometimes.
        slots: the most blocks that a task can take through each pass, the narrow one apart.
        blocks: how many it takes; a head's last task may have fewer, and has the narrow one.
        groups: tasks per head.
        bfloat16: whether the operands of products are pairs of bfloat16.
        parts: bfloat16 that an operand is cut into for matrix tiles; 0 where there are none.
        has_powers: whether the vector unit has instructions for powers of 2.

    """

    lanes: int
    vectors: int
    rows: int
    keys: int
    whole: Expr
    rest: int
    slots: int
    blocks: Expr
    groups: Expr
    bfloat16: bool
    parts: int
    has_powers: bool

    @property
    def is_rounded(self) -> bool:
        """Whether operands of products are rounded to bfloat16."""
        return self.bfloat16 or self.parts == 1

    @property
    def width(self) -> int:
        """Queries in a block."""
        return self.lanes * self.vectors


def choose_tile(attention: Attention, unit: VectorUnit, bfloat16: bool) -> Tile:
    """Return the tile for a vector unit."""
    shape = tile_shape(attention.queries, attention.keys, attention.depth, unit, bfloat16)
    vectors = shape.vectors
    total = divide_up(attention.queries, unit.lanes)
    known = constant_value(total)
    if known is not None:
        rest = known % vectors
        whole = index(known // vectors)
    else:
        rest = 1
        whole = unknown_whole(total, vectors)
    slots = slots_for(shape, unit.lanes, attention)
    if constant_value(whole) is not None:
        slots = min(slots, constant_value(whole))
    wanted = divide_up(index(_TASKS), attention.batch * attention.heads)
    groups = tirx.max(divide_up(whole, slots), tirx.min(whole, wanted))
    blocks = tirx.max(divide_up(whole, tirx.max(groups, index(1))), index(1))
    groups = tirx.max(divide_up(whole, blocks), index(1))
    keys = _block_keys(attention.keys, shape.rows, shape.most_keys)
    return shape.tile(unit.lanes, keys, whole, rest, slots, blocks, groups)


def unknown_whole(vectors: Expr, per_block: int) -> Expr:
    """Return the blocks of a number of vectors that is not known.

    One vector is left over to a narrow block, two are computed as if they were three.
    """
    return divide(vectors + (per_block - 2), per_block)


@dataclass(frozen=True)
class Shape:
    """What a tile is like, whatever the sizes; see `Tile`."""

    vectors: int
    rows: int
    bfloat16: bool
    parts: int
    has_powers: bool

    @property
    def most_keys(self) -> int:
        """Keys per pass."""
        return _TILE_KEYS[self.parts] if self.parts else _BLOCK_KEYS

    def tile(
        self,
        lanes: int,
        keys: int,
        whole: Expr,
        rest: int,
        slots: int,
        blocks: Expr,
        groups: Expr,
    ) -> Tile:
        """Return the tile."""
        sizes = (keys, whole, rest, slots, blocks, groups)
        kind = (self.bfloat16, self.parts, self.has_powers)
        return Tile(lanes, self.vectors, self.rows, *sizes, *kind)


def tile_shape(queries: Expr, keys: Expr, depth: int, unit: VectorUnit, bfloat16: bool) -> Shape:
    """Return the shape of a kernel's tiles: matrix tiles where there are some and they fill.

    In float32, six products for one pay if they are long enough to make up for cutting the weights.
    """
    sizes = [constant_value(size) for size in (queries, keys)]
    fills = all(size is None or size >= _TILE_ROWS for size in sizes)
    if unit.tiles and fills and (bfloat16 or depth >= _LONG_PRODUCT):
        return Shape(_TILE_VECTORS, _TILE_ROWS, False, 1 if bfloat16 else 3, unit.has_powers)
    known = constant_value(divide_up(queries, unit.lanes))
    vectors = BLOCK_VECTORS if known is None else min(BLOCK_VECTORS, known)
    return Shape(vectors, register_rows(unit), bfloat16, 0, unit.has_powers)


def slots_for(shape: Shape, lanes: int, attention: Attention) -> int:
    """Return how many blocks of queries a task's memory holds."""
    width = lanes * shape.vectors
    if shape.parts == 0:
        return max(1, _STATE // (width * (attention.depth + attention.value_depth)))
    query = shape.parts * -(-attention.depth // 2)
    return max(1, _TILE_STATE // (width * (query + attention.value_depth)))


def register_rows(unit: VectorUnit) -> int:
    """Return the keys (or output channels) whose sums the registers hold."""
    return 8 if unit.registers >= 32 else 4


def _block_keys(keys: Expr, rows: int, most: int) -> int:
    """Return the keys per pass: passes of equal length where their number is known."""
    known = constant_value(keys)
    if known is None:
        return most
    passes = -(-known // most)
    even = -(-known // passes)
    return -(-even // rows) * rows
