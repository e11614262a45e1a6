"""Sizes of a contraction's tiles and blocks, from its extents and the target's vector unit."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.contraction import Contraction
from sam_tvm.kernels.expressions import constant_value, divide, integer
from sam_tvm.kernels.layout import constant_stride
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.tasks import known_product

_BLOCK_ROWS = 96  # rows of Y that share one pass over X
_Y_BLOCK = 1 << 17  # float32 elements of Y kept in the second-level cache
_SUM_BLOCK = 256  # summed elements per pass: X's slice of 256 x 32 fits the first-level cache
_FAR = 512  # elements between rows of X beyond which each lies on a page of its own
_MOST_ROWS = 12
_LOAD_COST = 0.3  # of a load in multiplications, measured
_TASKS = 16  # tasks a parallel loop should have


@dataclass(frozen=True)
class Tiling:
    """Sizes, in elements unless said otherwise.

    Attributes:
        lanes, vectors: width of a tile, in float32 per vector and in vectors.
        rows: rows of a register tile.
        blocks: register tiles per row block.
        sum_block: steps of the outermost summed axis per pass.
        pack_x, pack_y: whether an operand is copied into the tile's order first.

    """

    lanes: int
    vectors: int
    rows: int
    blocks: int
    sum_block: int
    pack_x: bool
    pack_y: bool

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.lanes * self.vectors

    @property
    def block_rows(self) -> int:
        """Rows of a row block."""
        return self.rows * self.blocks


def choose_tiling(contraction: Contraction, unit: VectorUnit) -> Tiling:
    """Return the tiling for a contraction."""
    width = constant_value(contraction.lane.extent)
    lanes, vectors, rows = _register_tile(width, unit)
    height = constant_value(contraction.row.extent) if contraction.row is not None else 1
    if height is not None:
        rows = _even(height, rows)
    inner = known_product(contraction.reduced[1:]) or _SUM_BLOCK
    total = known_product(contraction.reduced) or 1024
    block_rows = min(_BLOCK_ROWS, max(2 * rows, _Y_BLOCK // total))
    if height is not None:
        block_rows = min(block_rows, height)
    tiles = None if width is None else -(-width // (lanes * vectors))
    return Tiling(
        lanes=lanes,
        vectors=vectors,
        rows=rows,
        blocks=max(1, -(-block_rows // rows)),
        sum_block=max(1, _SUM_BLOCK // inner),
        pack_x=_must_pack_x(contraction, width, height, rows),
        pack_y=contraction.is_convolution or tiles is None or tiles > 3,
    )


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
        return waste * (1 + _LOAD_COST * loads)

    choices = range(1, min(5, width // unit.lanes if width is not None else 2) + 1)
    vectors = min(choices, key=cost)
    return unit.lanes, vectors, _rows(vectors, unit)


def _rows(vectors: int, unit: VectorUnit) -> int:
    """Return the rows whose sums fit the registers beside a row of X and one element of Y."""
    return max(1, min(_MOST_ROWS, (unit.registers - 1 - vectors) // vectors))


def _even(height: int, rows: int) -> int:
    """Return the rows that divide the height into equal tiles, none larger than `rows`."""
    return -(-height // -(-height // rows))


def _must_pack_x(
    contraction: Contraction, width: int | None, height: int | None, rows: int
) -> bool:
    index = contraction.x.indices[0]
    if width is None or constant_stride(index, contraction.lane) != 1:
        return True
    if contraction.is_convolution:
        return False
    step = constant_stride(index, contraction.reduced[-1])
    far = step is None or step > _FAR
    return far and (height is None or height >= 4 * rows)


def column_splits(row_tasks: Expr, column_tiles: Expr) -> Expr:
    """Return into how many tasks the columns are cut, given the tasks that the rows make."""
    wanted = divide(integer(_TASKS, row_tasks) + row_tasks - 1, row_tasks)
    return tirx.max(integer(1, row_tasks), tirx.min(wanted, column_tiles))
