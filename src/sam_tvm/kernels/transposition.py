"""Stages that read across the memory they write: squares are turned around in registers."""

from __future__ import annotations

from dataclasses import dataclass

import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    divide_up,
    dtype_of,
    integer,
    loads,
    map_loads,
    substitute,
)
from sam_tvm.kernels.layout import FlatStage, constant_stride, stride
from sam_tvm.kernels.loops import Body, loop, sequence, vector
from sam_tvm.kernels.program import Axis
from sam_tvm.kernels.vectors import Code, Lanes, transpose

_INNER_BLOCK = 64  # written elements in a row: a few cache lines
_ACROSS_BLOCK = 1024  # read elements in a row
_WORD = 4  # bytes of the elements that are turned around


@dataclass(frozen=True)
class Transposition:
    """What reads across.

    Attributes:
        stage: writes along `inner` and reads something along `across`.
        across, inner: its axes, both at least `lanes` long.
        lanes: of a vector.
        analyzer: knows the ranges of all axes.

    """

    stage: FlatStage
    across: Axis
    inner: Axis
    lanes: int
    analyzer: sym.Analyzer

    def blocks(self) -> tuple[Axis, Axis]:
        """Return the axes of blocks whose lines of memory stay in the cache."""
        blocks = []
        for axis, size in ((self.inner, _INNER_BLOCK), (self.across, _ACROSS_BLOCK)):
            count = divide_up(axis.extent, integer(size, axis.extent))
            var = Var(f"{axis.var.name}_block", axis.var.ty)
            blocks.append(Axis(var, self.analyzer.simplify(count), False))
        return blocks[0], blocks[1]

    def block(self, inner_block: Expr, across_block: Expr) -> tirx.Stmt:
        """Return the squares of a block, following the lines that are read."""
        return self._squares(
            self.inner,
            inner_block * _INNER_BLOCK,
            _INNER_BLOCK,
            lambda column: self._squares(
                self.across,
                across_block * _ACROSS_BLOCK,
                _ACROSS_BLOCK,
                lambda row: self._square(row, column),
            ),
        )

    def _squares(self, axis: Axis, begin: Expr, size: int, body: Body) -> tirx.Stmt:
        """Return a loop over the squares of a block along an axis.

        The last square overlaps its neighbour: what is computed twice is stored twice alike.
        """
        extent, lanes = axis.extent, self.lanes
        known = constant_value(extent)
        steps: Expr = integer(size // lanes, extent)
        if known is None or known % size:
            left = divide_up(extent - begin, integer(lanes, extent))
            steps = self.analyzer.simplify(tirx.min(steps, left))

        def one(number: Expr) -> tirx.Stmt:
            start = begin + number * lanes
            if known is None or known % lanes:
                start = tirx.min(start, extent - lanes)
            return body(start)

        return loop(steps, one, f"{axis.var.name}_square")

    def _square(self, row: Expr, column: Expr) -> tirx.Stmt:
        """Read rows of a square along `across`, turn it, and store along `inner`."""
        code, stage = Code(Lanes(self.lanes)), self.stage
        turned: list[tuple[TensorLoad, list[Expr]]] = []
        for value in stage.values:
            for load in loads(value):
                known = any(tvm_ffi.structural_equal(load, other) for other, _ in turned)
                if not known and reads_across(load, self.across, self.inner):
                    turned.append((load, self._columns(code, load, row, column)))
        if len(stage.values) == 1 and isinstance(stage.values[0], TensorLoad):
            ((_, columns),) = turned
            for i, values in enumerate(columns):
                point = {self.across.var: row + i, self.inner.var: column}
                index = substitute(stage.index, point)
                code.add(code.lanes.store(stage.buffers[0], values, index))
            return code.body()
        tiles = [(load, self._tile(code, load, columns)) for load, columns in turned]
        code.add(loop(integer(self.lanes, row), lambda i: self._row(tiles, row, i, column), "i"))
        return code.body()

    def _columns(self, code: Code, load: TensorLoad, row: Expr, column: Expr) -> list[Expr]:
        dtype = load.source.dtype
        vectors = []
        for j in range(self.lanes):
            point = {self.across.var: row, self.inner.var: column + j}
            start = substitute(load.indices[0], point)
            vectors.append(code.name("read", code.lanes.load(load.source, start), dtype))
        return transpose(code, vectors, dtype)

    def _tile(self, code: Code, load: TensorLoad, columns: list[Expr]) -> Var:
        """Keep the turned square in memory, for expressions that read it lane by lane."""
        tile = tirx.decl_buffer((self.lanes * self.lanes,), load.source.dtype, "square")
        code.add(tirx.AllocBuffer(tile))
        for i, values in enumerate(columns):
            code.add(code.lanes.store(tile, values, i * self.lanes))
        return tile

    def _row(
        self, tiles: list[tuple[TensorLoad, Var]], row: Expr, i: Expr, column: Expr
    ) -> tirx.Stmt:
        stage, lanes = self.stage, self.lanes

        def cell(j: Expr) -> tirx.Stmt:
            def read(load: TensorLoad) -> Expr:
                for other, tile in tiles:
                    if tvm_ffi.structural_equal(load, other):
                        return tirx.BufferLoad(tile, [i * lanes + j])
                return load

            point = {self.across.var: row + i, self.inner.var: column + j}
            index = substitute(stage.index, point)
            return sequence(
                [
                    tirx.BufferStore(buffer, substitute(map_loads(value, read), point), [index])
                    for buffer, value in zip(stage.buffers, stage.values, strict=True)
                ]
            )

        return vector(lanes, row, cell)


def reads_across(load: TensorLoad, across: Axis, inner: Axis) -> bool:
    """Tell whether a load is contiguous along `across` and strides along `inner`."""
    index = load.indices[0]
    step = stride(index, inner)
    return (
        step is not None
        and constant_value(step) not in (0, 1)  # a symbolic one is seldom 1
        and constant_stride(index, across) == 1
        and _is_word(load.source.dtype)
    )


def find_across(stage: FlatStage, outer: tuple[Axis, ...], inner: Axis, lanes: int) -> Axis | None:
    """Return the axis along which something is read that is written along `inner`, if any."""
    if lanes < 4 or constant_stride(stage.index, inner) != 1 or not _is_long(inner, lanes):
        return None
    if not all(_is_word(dtype_of(value)) for value in stage.values):
        return None
    for value in stage.values:
        for load in loads(value):
            for axis in outer:
                if _is_long(axis, lanes) and reads_across(load, axis, inner):
                    return axis
    return None


def _is_long(axis: Axis, lanes: int) -> bool:
    extent = constant_value(axis.extent)
    return extent is None or extent >= lanes


def _is_word(dtype: str) -> bool:
    return tirx.const(0, dtype).ty.dtype.itemsize == _WORD
