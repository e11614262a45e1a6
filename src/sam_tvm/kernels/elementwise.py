"""Element-wise stages: one vector loop along the output's memory, tiled where it transposes."""

from __future__ import annotations

from tvm import sym, tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import (
    constant_value,
    divide_up,
    dtype_of,
    integer,
    loads,
    substitute,
)
from sam_tvm.kernels.layout import FlatStage, constant_stride
from sam_tvm.kernels.loops import loop, nest, sequence, vector_loop
from sam_tvm.kernels.program import Axis

_TILE = 16  # elements: a cache line of float32


def elementwise_nest(
    stage: FlatStage, axes: tuple[Axis, ...], lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Return serial loops over `axes` with the last one vectorised."""
    if not axes:
        return store(stage, {})
    *outer, inner = axes
    across = _transposed_axis(stage, tuple(outer), inner)
    if across is None:
        return nest(
            outer,
            vector_loop(inner.extent, lanes, lambda i: store(stage, {inner.var: i}), analyzer),
        )
    return _tiled(stage, [a for a in outer if a is not across], across, inner, lanes, analyzer)


def store(stage: FlatStage, point: dict[tirx.Var, Expr]) -> tirx.Stmt:
    """Return the stores of one point."""
    index = substitute(stage.index, point)
    return sequence(
        [
            tirx.BufferStore(buffer, substitute(value, point), [index])
            for buffer, value in zip(stage.buffers, stage.values, strict=True)
        ]
    )


def _transposed_axis(stage: FlatStage, outer: tuple[Axis, ...], inner: Axis) -> Axis | None:
    """Return the outer axis along which something is read contiguously, if `inner` strides."""
    for value in stage.values:
        for load in loads(value):
            if constant_stride(load.indices[0], inner) in (0, 1):
                continue
            for axis in outer:
                extent = constant_value(axis.extent)
                contiguous = constant_stride(load.indices[0], axis) == 1
                if contiguous and (extent is None or extent >= _TILE // 2):
                    return axis
    return None


def _tiled(
    stage: FlatStage,
    outer: list[Axis],
    across: Axis,
    inner: Axis,
    lanes: int,
    analyzer: sym.Analyzer,
) -> tirx.Stmt:
    """Walk tiles of `across` by `inner`, so that a fetched cache line is used up at once."""

    def block(extent: Expr, tile: Expr) -> tuple[Expr, Expr]:
        start = tile * _TILE
        if (known := constant_value(extent)) is not None and known % _TILE == 0:
            return start, integer(_TILE, extent)
        return start, tirx.min(integer(_TILE, extent), extent - start)

    def tiles(extent: Expr) -> Expr:
        return analyzer.simplify(divide_up(extent, integer(_TILE, extent)))

    def body(row_tile: Expr, column_tile: Expr) -> tirx.Stmt:
        row, rows = block(across.extent, row_tile)
        column, columns = block(inner.extent, column_tile)

        def rows_loop(i: Expr) -> tirx.Stmt:
            return vector_loop(
                columns,
                min(lanes, _TILE),
                lambda j: store(stage, {across.var: row + i, inner.var: column + j}),
                analyzer,
            )

        return loop(rows, rows_loop, across.var.name)

    return nest(
        outer,
        loop(
            tiles(across.extent),
            lambda r: loop(tiles(inner.extent), lambda c: body(r, c), "column_tile"),
            "row_tile",
        ),
    )


def value_lanes(stage: FlatStage, lanes: int) -> int:
    """Return lanes for the widest type that is stored."""
    widest = max(tirx.const(0, dtype_of(v)).ty.dtype.itemsize for v in stage.values)
    return max(1, lanes * 4 // max(widest, 4))
