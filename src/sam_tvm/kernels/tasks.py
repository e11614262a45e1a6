"""Which axes become the parallel loop, and how a long single axis is cut into tasks."""

from __future__ import annotations

from dataclasses import replace

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import constant_value, divide_up, integer, substitute
from sam_tvm.kernels.layout import FlatStage
from sam_tvm.kernels.loops import named
from sam_tvm.kernels.program import Axis, bind_axes
from sam_tvm.kernels.vectors import Code, Lanes, index

_SERIAL_WORK = 1 << 13  # operations below which starting threads costs more than it saves
TASKS = 32  # iterations a parallel loop should have
_CHUNK = 1 << 12  # operations that a task should have at least


def known_product(axes: tuple[Axis, ...]) -> int | None:
    """Return the number of points, None if an extent is symbolic."""
    total = 1
    for axis in axes:
        extent = constant_value(axis.extent)
        if extent is None:
            return None
        total *= extent
    return total


def is_small(stage: FlatStage) -> bool:
    """Tell whether a stage is not worth the start of threads."""
    work = known_product(stage.spatial + stage.reduced)
    return work is not None and work <= _SERIAL_WORK


def split_tasks(
    stage: FlatStage, whole_points: bool, analyzer: sym.Analyzer
) -> tuple[FlatStage, tuple[Axis, ...]]:
    """Return the stage and those of its leading spatial axes that form the parallel loop.

    With `whole_points` a task may be a single output (a reduction over lanes); otherwise the last
    axis keeps the vectors, and is cut into chunks if the axes before it are too few.
    """
    if is_small(stage) or not stage.spatial:
        return stage, ()
    available = len(stage.spatial) if whole_points else len(stage.spatial) - 1
    taken, count = 0, 1
    while taken < available and count < TASKS:
        count *= constant_value(stage.spatial[taken].extent) or 1
        taken += 1
    if count >= TASKS or whole_points:
        return stage, stage.spatial[:taken]
    last = stage.spatial[-1]
    per_point = max(1, known_product(stage.reduced) or 64)
    chunk = max(64, _CHUNK // per_point)
    extent = constant_value(last.extent)
    if taken < len(stage.spatial) - 1 or (extent is not None and extent <= chunk):
        return stage, stage.spatial[:taken]
    stage = _cut_last(stage, chunk, analyzer)
    return stage, stage.spatial[:-1]


def _cut_last(stage: FlatStage, chunk: int, analyzer: sym.Analyzer) -> FlatStage:
    """Replace the last spatial axis by chunks of it and the points of a chunk."""
    axis = stage.spatial[-1]
    size = integer(chunk, axis.extent)
    outer = Axis(Var("chunk", axis.var.ty), divide_up(axis.extent, size), False)
    bind_axes(analyzer, [outer])
    extent = constant_value(axis.extent)
    points = size
    if extent is None or extent % chunk:
        points = tirx.min(size, axis.extent - outer.var * chunk)
    inner = Axis(Var(axis.var.name, axis.var.ty), points, False)
    point = {axis.var: outer.var * chunk + inner.var}
    stage = stage.rewrite(lambda e: substitute(e, point))
    return replace(stage, spatial=(*stage.spatial[:-1], outer, inner))


def row_blocks(
    height: Expr, most: int, strip: int, statements: list[tirx.Stmt], analyzer: sym.Analyzer
) -> tuple[Expr, Expr]:
    """Return the rows of a block, and how many blocks there are.

    If the height is known, `most` was chosen for it, and blocks are as large; else they are as
    equal as whole strips can be, and as many for each of two threads or four.

    Args:
        height: rows of all blocks, int64.
        most: rows of a block, a multiple of `strip` if the height is not known.
        strip: rows that are computed together.
        statements: take what has to be computed first.
        analyzer: knows the sizes.

    """
    if constant_value(height) is not None:
        return index(most), analyzer.simplify(divide_up(height, most))
    fewest = named("fewest", divide_up(height, most), statements, analyzer)
    even = divide_up(fewest, 2) * 2
    wanted = named("wanted", tirx.Select(fewest > 1, even, fewest), statements, analyzer)
    strips = divide_up(divide_up(height, wanted), strip)
    # Not named: TVM's passes get lost in products of two bindings.
    code = Code(Lanes(1))
    rows = code.bind("block_rows", strips * strip)
    statements += code.statements
    return rows, named("row_blocks", divide_up(height, rows), statements, analyzer)
