"""The contraction's tasks: operands packed first, then blocks of rows by tiles of columns."""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16_instructions import import_instructions
from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    product,
    remainder,
)
from sam_tvm.kernels.loops import loop, named, parallel, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.row_block import RowBlock
from sam_tvm.kernels.products.tiling import Tiling, column_splits
from sam_tvm.kernels.products.x_copies import PackedX
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.tasks import row_blocks


def _int(value: int) -> Expr:
    return integer(value, "int64")


def _divides(part: Expr, whole: Expr) -> bool:
    a, b = constant_value(part), constant_value(whole)
    return a is not None and b is not None and b % a == 0


def emit_contraction(contraction: Contraction, tiling: Tiling, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Return the statements of a contraction.

    A task is a block of rows, at one point of the outer axes, by some tiles of columns.
    """
    block = RowBlock(contraction, tiling, analyzer)
    statements: list[tirx.Stmt] = []

    def bind(name: str, value: Expr) -> Expr:
        return named(name, value, statements, analyzer)

    sizes = block.height, tiling.block_rows, tiling.rows
    per_block, count = row_blocks(*sizes, statements, analyzer)
    row_block = Axis(Var("row_block", "int64"), count, False)
    row_tasks = bind("row_tasks", product([a.extent for a in contraction.outer]) * count)
    tiles = bind("all_tiles", product([a.extent for a in contraction.columns]) * block.tiles)
    splits = bind("splits", column_splits(row_tasks, tiles, block.y.is_copy))
    per_task = bind("per_task", divide_up(tiles, splits))
    split = Axis(Var("split", "int64"), bind("parts", divide_up(tiles, per_task)), False)
    if isinstance(block.x, PackedX):
        statements += block.x.pack()
    rows = row_block.var * per_block, per_block
    task = _task(block, rows, split.var * per_task, per_task, tiles)
    statements.append(parallel([*contraction.outer, row_block, split], task))
    body = sequence(statements)
    return import_instructions(body) if contraction.pairs else body


def _task(
    block: RowBlock, at: tuple[Expr, Expr], begin: Expr, count: Expr, tiles: Expr
) -> tirx.Stmt:
    """Return one block of rows by `count` of all `tiles`, from `begin` on, unless they end.

    `at` is the block's first row and how many rows a block has, unless they end.
    """
    statements: list[tirx.Stmt] = [*block.allocation]

    def bind(name: str, value: Expr) -> Expr:
        return named(name, value, statements, block.analyzer)

    first, rows = bind("first_row", at[0]), at[1]
    if not _divides(rows, block.height):
        rows = bind("rows", tirx.min(rows, block.height - first))
    begin = bind("begin", begin)
    if not _divides(count, tiles):
        count = bind("count", tirx.min(count, tiles - begin))

    def one_tile(number: Expr) -> tirx.Stmt:
        tile = Var("tile", "int64")
        bindings: list[tirx.Stmt] = [tirx.Bind(tile, remainder(begin + number, block.tiles))]
        rest = divide(begin + number, block.tiles)
        for axis in reversed(block.c.columns):
            bindings.append(tirx.Bind(axis.var, remainder(rest, axis.extent)))
            rest = divide(rest, axis.extent)
        return sequence([*bindings, *block.x.prepare(tile), block.emit(first, rows, tile)])

    statements += block.y.copy(first, rows)
    return sequence([*statements, loop(count, one_tile, "column")])
