"""Sizes of a contraction's tiles and blocks, from its extents and the target's vector unit."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, divide, integer
from sam_tvm.kernels.generated import LOAD_COST
from sam_tvm.kernels.layout import constant_stride
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.tasks import known_product

_BLOCK_ROWS = 384  # rows of Y that share one pass over X
_COPIED_ROWS = 144  # the same where Y is copied, which must leave room for X in the cache
_FEW_COPIED_ROWS = 72  # enough where X is small: the tasks need not be cut along the columns
_SMALL = 1 << 20  # elements of X
_CHUNK = 1 << 17  # elements of X that stay in the second-level cache beside Y and the sums
_FAR = 512  # elements between rows of X beyond which each lies on a page of its own
_MOST_ROWS = 12
_TASKS = 48  # tasks a parallel loop should have, so that threads finish together
_COPYING_TASKS = 16
_TILES_PER_COPY = 2
_WAYS = 8  # lines of the first-level cache at addresses that are equal modulo a page
_PAGE = 1024  # elements


@dataclass(frozen=True)
class Tiling:
    """Sizes, in elements unless said otherwise.

    Attributes:
        lanes, vectors: width of a register tile, in float32 per vector and in vectors.
        rows: rows of a register tile.
        block_rows: rows of Y that one task reads.
        chunks: parts of the sum, each of which is done for all rows of a block before the next.
        pack_x, copy_y: whether an operand is copied into the tile's order first.
        by_tile: whether X is, a tile at a time, by the tasks.

    """

    lanes: int
    vectors: int
    rows: int
    block_rows: int
    chunks: int
    pack_x: bool
    copy_y: bool
    by_tile: bool

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.lanes * self.vectors


def choose_tiling(contraction: Contraction, unit: VectorUnit) -> Tiling:
    """Return the tiling for a contraction."""
    width = constant_value(contraction.lane.extent)
    if contraction.panels is None:
        lanes, vectors, rows = _register_tile(width, unit)
    else:
        lanes, vectors, rows = _panel_tile(width, contraction.panels.width, unit)
    height = constant_value(contraction.row.extent) if contraction.row is not None else 1
    pack_x = contraction.panels is None and _must_pack_x(contraction, width, height, rows)
    by_tile = pack_x and _stays_in_cache(contraction, lanes * vectors)
    most_rows = _BLOCK_ROWS if by_tile else _most_rows(contraction)
    block_rows = most_rows // rows * rows
    if height is not None:
        rows = _even(height, rows)
        block_rows = min(height, -(-_even(height, most_rows) // rows) * rows)
    return Tiling(
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        block_rows=block_rows,
        chunks=-(-(known_product(contraction.reduced) or 1) * lanes * vectors // _CHUNK),
        pack_x=pack_x,
        copy_y=_must_copy_y(contraction, rows),
        by_tile=by_tile,
    )


def _panel_tile(width: int, panel: int, unit: VectorUnit) -> tuple[int, int, int]:
    """Return lanes, vectors and rows of the register tile for panels of a width."""
    lanes = unit.lanes
    while panel % lanes:
        lanes //= 2
    vectors = -(-min(width, panel) // lanes)
    return lanes, vectors, _rows(vectors, unit)


def _register_tile(width: int | None, unit: VectorUnit) -> tuple[int, int, int]:
    """Return lanes, vectors and rows of the register tile that should take the least time."""
    if width is not None and width < unit.lanes:
        lanes = 1
        while lanes * 2 <= width:
            lanes *= 2
        return lanes, 1, _rows(1, unit)

    def cost(vectors: int) -> float:
        tile, rows = vectors * unit.lanes, _rows(vectors, unit)
        waste = 1.0 if width is None else -(-width // tile) * tile / width
        loads = (vectors + rows) / (vectors * rows)  # per multiplication
        return waste * (1 + LOAD_COST * loads)

    choices = range(1, min(5, width // unit.lanes if width is not None else 2) + 1)
    vectors = min(choices, key=cost)
    return unit.lanes, vectors, _rows(vectors, unit)


def _most_rows(contraction: Contraction) -> int:
    """Return the rows of a block."""
    if not contraction.pairs:
        return _BLOCK_ROWS
    elements = known_product((*contraction.reduced, contraction.lane))
    return _COPIED_ROWS if elements is None or elements > _SMALL else _FEW_COPIED_ROWS


def _rows(vectors: int, unit: VectorUnit) -> int:
    """Return the rows whose sums fit the registers beside a row of X and one element of Y."""
    return max(1, min(_MOST_ROWS, (unit.registers - 1 - vectors) // vectors))


def _even(height: int, rows: int) -> int:
    """Return the rows that divide the height into equal parts, none larger than `rows`."""
    return -(-height // -(-height // rows))


def _must_pack_x(
    contraction: Contraction, width: int | None, height: int | None, rows: int
) -> bool:
    index = contraction.x.indices[0]
    if width is None or contraction.pairs or constant_stride(index, contraction.lane) != 1:
        return True
    if contraction.columns:
        return False
    step = constant_stride(index, contraction.reduced[-1])
    far = step is None or step > _FAR
    return far and (height is None or height >= 4 * rows)


def _stays_in_cache(contraction: Contraction, width: int) -> bool:
    """Whether a tile of X does so beside the rows that it meets, and no batches share it."""
    terms, index = known_product(contraction.reduced), contraction.x.indices[0]
    if terms is None or terms * width > _CHUNK:
        return False
    return all(constant_stride(index, axis) != 0 for axis in contraction.outer)


def _must_copy_y(contraction: Contraction, rows: int) -> bool:
    """Whether the sum runs across Y's memory, or a tile's rows evict each other from the cache."""
    index = contraction.y.indices[0]
    if constant_stride(index, contraction.reduced[-1]) != 1:
        return True
    if contraction.row is None or rows < _WAYS:
        return False
    step = constant_stride(index, contraction.row)
    return step is None or step % _PAGE == 0


def column_splits(row_tasks: Expr, column_tiles: Expr, copies_y: bool) -> Expr:
    """Return into how many tasks the columns are cut, given the tasks that the rows make.

    Each task that copies Y should have several tiles to use the copy for.
    """
    tasks = _COPYING_TASKS if copies_y else _TASKS
    wanted = divide(integer(tasks, row_tasks) + row_tasks - 1, row_tasks)
    most = divide(column_tiles, _TILES_PER_COPY) if copies_y else column_tiles
    return tirx.max(integer(1, row_tasks), tirx.min(wanted, most))
