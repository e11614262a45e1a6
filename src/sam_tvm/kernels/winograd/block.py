"""A block of tiles: reading and transforming what it is computed from, and storing its results."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import round_pairs
from sam_tvm.kernels.expressions import divide
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, Lanes, index
from sam_tvm.kernels.winograd.problem import PATCH, STEP, Sizes, Tile
from sam_tvm.kernels.winograd.transforms import (
    copied_patch,
    each_vector,
    transformed_input,
    transformed_products,
)


@dataclass(frozen=True)
class Extent:
    """Where a block lies.

    Attributes:
        first, run: its first tile, counted through the rows of all pictures, and how many.
        top, deep: its first slice, and how many, each with that run of tiles.
    """

    first: Expr
    run: Expr
    top: Expr
    deep: Expr


class Block:
    """Emits what is done to one block before and after the products."""

    def __init__(self, sizes: Sizes, tile: Tile, extent: Extent) -> None:
        self._sizes, self._tile, self._extent = sizes, tile, extent

    def _place(self, code: Code, row: Expr) -> tuple[Expr, Expr, Expr, Expr]:
        """Return the picture, slice (counted from the block's), row and column of a tile."""
        rows, columns = self._sizes.tiles
        level = code.bind("level", divide(row, self._extent.run))
        number = code.bind("number", self._extent.first + row - level * self._extent.run)
        line = code.bind("line", divide(number, columns))
        picture = code.bind("picture", divide(line, rows))
        return picture, level, line - picture * rows, number - line * columns

    def transform(self, code: Code, x: Var, inputs: Var, register_tiles: Expr) -> None:
        """Add the transformation of the block's inputs.

        Args:
            code: where to.
            x: the picture, flat.
            inputs: where the transformed rows go.
            register_tiles: that are going to read them; rows that no tile has are zeros.
        """
        sizes, t, extent = self._sizes, self._tile, self._extent
        patch, allocation = scratch(PATCH * PATCH * sizes.channels, "float32", "patch")
        code.add(*allocation)
        around = sizes.slices - 1
        there = code.bind("rows_there", (extent.deep + around) * extent.run)
        needed = code.bind("rows_read", register_tiles * t.rows + around * extent.run)

        def row(number: Expr) -> tirx.Stmt:
            inner = Code(code.lanes)
            to = inner.bind("to", number * sizes.words)
            picture, level, line, column = self._place(inner, number)
            z = inner.bind("z", extent.top + level - sizes.before[0])
            y = inner.bind("y", line * STEP - sizes.before[1])
            x_ = inner.bind("x", column * STEP - sizes.before[2])
            start = ((picture * sizes.size[0] + z) * sizes.size[1] + y) * sizes.size[2] + x_
            start = inner.bind("start", start * sizes.channels)
            inside = tirx.all(number < there, z >= 0, z < sizes.size[0])
            transformed = self._tile_inputs(x, patch, inputs, start, (y, x_), to)
            inner.add(tirx.IfThenElse(inside, transformed, self._zeros(inputs, to)))
            return inner.body()

        code.add(loop(needed, row, "row"))

    def _tile_inputs(
        self, x: Var, patch: Var, inputs: Var, start: Expr, corner: tuple[Expr, Expr], to: Expr
    ) -> tirx.Stmt:
        """Return the transformation of one tile's inputs; those at the edge are copied first."""
        _, height, width = self._sizes.size
        channels = self._sizes.channels
        y, x_ = corner

        def pixel(row: Expr, column: Expr) -> tuple[Expr, Expr]:
            line, at = y + row, x_ + column
            inside = tirx.all(line >= 0, line < height, at >= 0, at < width)
            return inside, start + (row * width + column) * channels

        line = width * channels
        direct = self._transform_one(x, start, line, inputs, to)
        copy = copied_patch(x, patch, pixel, channels, self._tile.lanes)
        copied = self._transform_one(patch, index(0), PATCH * channels, inputs, to)
        last = PATCH - 1
        inner = tirx.all(y >= 0, y + last < height, x_ >= 0, x_ + last < width)
        return tirx.IfThenElse(inner, direct, tirx.SeqStmt([copy, copied]))

    def _transform_one(
        self, source: Var, start: Expr, line: int, inputs: Var, to: Expr
    ) -> tirx.Stmt:
        channels, plane = self._sizes.channels, self._tile.input_plane(self._sizes)
        pairs = self._sizes.pairs

        def vector(lanes: Lanes, c: Expr) -> tirx.Stmt:
            code = Code(lanes)

            def read(y: int, x: int) -> Expr:
                return lanes.load(source, start + c + (y * line + x * channels))

            for position, value in transformed_input(code, read):
                at = position * plane + to
                if pairs:
                    words = Lanes(lanes.count // 2)
                    code.add(words.store(inputs, round_pairs(value), at + divide(c, 2)))
                else:
                    code.add(lanes.store(inputs, value, at + c))
            return code.body()

        return each_vector(channels, self._tile.lanes, vector)

    def _zeros(self, inputs: Var, to: Expr) -> tirx.Stmt:
        plane, dtype = self._tile.input_plane(self._sizes), self._sizes.dtype

        def position(number: Expr) -> tirx.Stmt:
            def vector(lanes: Lanes, word: Expr) -> tirx.Stmt:
                zero = lanes.splat(tirx.const(0, dtype))
                return lanes.store(inputs, zero, number * plane + to + word)

            return each_vector(self._sizes.words, self._tile.lanes, vector)

        return loop(index(PATCH * PATCH), position, "position")

    def store(self, code: Code, sums: Var, flat: dict[str, Var], panel: Expr) -> None:
        """Add the transformation of the products by a panel, and the store of the results."""
        sizes, t, extent = self._sizes, self._tile, self._extent
        begin = code.bind("first_column", panel * t.width)
        panels, last = divmod(sizes.outputs, t.width)

        def row(number: Expr) -> tirx.Stmt:
            inner = Code(code.lanes)
            picture, level, line, column = self._place(inner, number)
            depth, height, width = sizes.results
            y, x = inner.bind("y", line * STEP), inner.bind("x", column * STEP)
            start = ((picture * depth + extent.top + level) * height + y) * width + x
            start = inner.bind("start", start * sizes.outputs + begin)
            # The second row and column, or the first again where the picture ends.
            down = tirx.Select(y + 1 < height, index(width * sizes.outputs), index(0))
            right = tirx.Select(x + 1 < width, index(sizes.outputs), index(0))
            steps = inner.bind("down", down), inner.bind("right", right)
            source = inner.bind("source", number * t.width)

            def columns(count: int) -> tirx.Stmt:
                return each_vector(
                    count,
                    t.lanes,
                    lambda lanes, c: self._store_vector(
                        lanes, sums, flat, source + c, begin + c, start + c, steps
                    ),
                )

            if not last:
                inner.add(columns(t.width))
            elif not panels:
                inner.add(columns(last))
            else:
                inner.add(tirx.IfThenElse(panel < panels, columns(t.width), columns(last)))
            return inner.body()

        code.add(loop(extent.run * extent.deep, row, "row"))

    def _store_vector(
        self,
        lanes: Lanes,
        sums: Var,
        flat: dict[str, Var],
        source: Expr,
        column: Expr,
        start: Expr,
        steps: tuple[Expr, Expr],
    ) -> tirx.Stmt:
        code, plane = Code(lanes), self._tile.product_plane

        def read(y: int, x: int) -> Expr:
            return lanes.load(sums, source + (y * PATCH + x) * plane)

        results = transformed_products(code, read)
        # The first row and column last: they overwrite what lies beyond the edge.
        for y in reversed(range(STEP)):
            for x in reversed(range(STEP)):
                value = results[y][x]
                if self._sizes.has_bias:
                    value = value + lanes.load(flat["bias"], column)
                at = start + y * steps[0] + x * steps[1]
                code.add(lanes.store(flat["result"], value, at))
        return code.body()
