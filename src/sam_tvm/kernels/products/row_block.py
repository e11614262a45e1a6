"""One block of rows by one tile of columns: register tiles, and the store through the epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import sym, tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, divide, divide_up, integer
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop, named, sequence
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.products.register_tile import PassRange, Place, RegisterTile
from sam_tvm.kernels.products.stores import foresee_stores, store_sums
from sam_tvm.kernels.products.sums import SumPasses
from sam_tvm.kernels.products.tiling import Tiling
from sam_tvm.kernels.products.x_copies import PackedX, TileX
from sam_tvm.kernels.products.x_operand import DirectX, ExpandedX, PanelX
from sam_tvm.kernels.products.y_operand import y_operand

_LONGEST_SUM = 128  # summed elements per pass
_LONGEST_PAIRED_SUM = 1024  # pairs: next to the rounding of what is summed the sum's error is small
_WORTH_A_TILE = 8  # a narrower tile must spare one column in so many


def _int(value: int) -> Expr:
    return integer(value, "int64")


class RowBlock:
    """Emits the blocks of one contraction.

    Attributes:
        x, y: the operands as the tiles read them.
        tiles: how many tiles of columns there are.
        allocation: what declares the memory that a task needs.

    """

    def __init__(self, contraction: Contraction, tiling: Tiling, analyzer: sym.Analyzer) -> None:
        self.c, self.t, self.analyzer = contraction, tiling, analyzer
        self.width = contraction.lane.extent
        self.height = contraction.row.extent if contraction.row is not None else _int(1)
        panels = contraction.panels
        self.step = tiling.width if panels is None else panels.width
        self.tiles = analyzer.simplify(divide_up(self.width, _int(self.step)))
        self.y = y_operand(contraction, tiling)
        longest = _LONGEST_PAIRED_SUM if contraction.pairs else _LONGEST_SUM
        passes = SumPasses(contraction.reduced, longest)
        self.passes = analyzer.simplify(passes.count)
        self.chunks = min(tiling.chunks, constant_value(self.passes) or 1)
        self.per_chunk = -(-(constant_value(self.passes) or 1) // self.chunks)
        _, most = passes.steps(_int(0), _int(self.per_chunk))
        rows = constant_value(analyzer.simplify(most))
        self.x = _x_operand(contraction, tiling, self.tiles, rows)
        rows = tiling.rows if self.chunks == 1 else tiling.block_rows
        self.sums, allocation = scratch(_int(rows * tiling.width), "float32", "sums")
        self.allocation = [*self.y.allocation, *allocation]
        if isinstance(self.x, ExpandedX | TileX):
            self.allocation += self.x.allocation
        self.summed = passes
        operands = self.x, self.y, passes
        self.tile = RegisterTile(*operands, tiling.lanes, self.sums, contraction.pairs, analyzer)

    def _named(self, name: str, value: Expr, statements: list[tirx.Stmt]) -> Expr:
        return named(name, value, statements, self.analyzer)

    def emit(self, first: Expr, rows: Expr, tile: Expr) -> tirx.Stmt:
        """Return the sums of `rows` rows by one tile of columns, and their store.

        In the last panel a tile of fewer vectors computes them if that is worth its code.

        Args:
            first: the first row.
            rows: how many, at most `tiling.block_rows`.
            tile: the number of the tile.

        """
        full = self._block(first, rows, tile, self.t.vectors)
        if self.c.panels is None:
            return full
        width = constant_value(self.width)
        tiles, last = divmod(width, self.step)
        vectors = -(-last // self.t.lanes)
        spared = (self.t.vectors - vectors) * self.t.lanes
        if tiles == 0 or last == 0 or spared * _WORTH_A_TILE < width:
            return full
        narrow = self._block(first, rows, tile, vectors)
        return tirx.IfThenElse(tile < tiles, full, narrow)

    def _block(self, first: Expr, rows: Expr, tile: Expr, vectors: int) -> tirx.Stmt:
        """Return the block by a tile of so many vectors."""
        statements: list[tirx.Stmt] = []
        x_start = self._named("x", self.x.start(tile), statements)
        columns = self._named("columns", self._columns(tile, vectors), statements)
        width = vectors * self.t.lanes

        def whole_sums(row: Expr, count: int) -> tirx.Stmt:
            place = Place(row, count, vectors, _int(0))
            sums = self.tile.emit(start, first, place, passes)
            top, left = first + row, self.x.first_column(tile)
            hints = foresee_stores(self.c, top, count, left, width)
            return sequence([*hints, sums, self._store(top, _int(count), width, tile, columns)])

        if self.chunks == 1:
            passes = PassRange(_int(0), self.passes)
            start = self._expand(x_start, passes, statements)
            return sequence([*statements, self._register_tiles(rows, whole_sums)])
        known, per_chunk = constant_value(self.passes), self.per_chunk

        def chunk(number: Expr) -> tirx.Stmt:
            begin = number * per_chunk
            count = _int(per_chunk)
            if known % per_chunk:
                count = tirx.min(count, known - begin)
            passes, expansion = PassRange(begin, count), []
            start = self._expand(x_start, passes, expansion)

            def some_sums(row: Expr, count_: int) -> tirx.Stmt:
                place = Place(row, count_, vectors, row * width)
                return self.tile.emit(start, first, place, passes)

            return sequence([*expansion, self._register_tiles(rows, some_sums)])

        chunks = loop(_int(-(-known // per_chunk)), chunk, "chunk")
        return sequence([*statements, chunks, self._store(first, rows, width, tile, columns)])

    def _expand(self, x_start: Expr, passes: PassRange, statements: list[tirx.Stmt]) -> Expr:
        """Make X ready for some passes, by statements that are added; return where it begins."""
        if not isinstance(self.x, ExpandedX):
            return x_start
        first, count = self.summed.steps(passes.begin, passes.count)
        first = self._named("first_sum", first, statements)
        count = self._named("expanded", count, statements)
        statements.append(self.x.expand(x_start, first, count))
        return self._named("x_expanded", self.x.expanded(first), statements)

    def _register_tiles(
        self, rows: Expr, register_tile: Callable[[Expr, int], tirx.Stmt]
    ) -> tirx.Stmt:
        """Return the register tiles of a block; those at its end have fewer rows.

        Args:
            rows: rows of the block.
            register_tile: returns the tile at a row, which has so many rows.

        """
        full = self.t.rows
        statements: list[tirx.Stmt] = []
        whole = self._named("whole", divide(rows, _int(full)), statements)
        if constant_value(whole) != 0:
            statements.append(loop(whole, lambda b: register_tile(b * full, full), "block"))
        rest = self._named("rest", rows - whole * full, statements)
        known = constant_value(self.height)
        if known is not None and known % full:
            last = register_tile(whole * full, known % full)
            single = constant_value(rest) is not None
            statements.append(last if single else tirx.IfThenElse(rest != 0, last, None))
        elif known is None:
            statements += self._unknown_rest(whole * full, rest, register_tile)
        return sequence(statements)

    def _columns(self, tile: Expr, vectors: int) -> Expr:
        """Return how many of a tile's columns there are; the others are not stored."""
        columns: Expr = _int(min(self.step, vectors * self.t.lanes))
        known = constant_value(self.width)
        # Where X is no panel, the last tile overlaps its neighbour.
        if known is not None and (known % self.step == 0 or self.c.panels is None):
            return columns
        return tirx.min(columns, self.width - tile * self.step)

    def _unknown_rest(
        self, begin: Expr, rest: Expr, register_tile: Callable[[Expr, int], tirx.Stmt]
    ) -> list[tirx.Stmt]:
        """Return tiles of at most two heights for a rest that is not known.

        Each height costs as much time to compile as the whole tile, hence only two. Loops of no
        or one step instead of conditions, whose analysis takes TVM three times as long.
        """
        divisor = math.gcd(int(self.analyzer.modular_set(self.height).coeff), self.t.rows)
        height = divisor if divisor > 1 else math.isqrt(self.t.rows - 1) + 1
        statements: list[tirx.Stmt] = []
        if divisor == self.t.rows:
            return statements
        if height > 1:
            tall = self._named("tall", divide(rest, height), statements)
            statements.append(loop(tall, lambda i: register_tile(begin + i * height, height), "t"))
            begin, rest = begin + tall * height, rest - tall * height
        if divisor > 1:
            return statements
        low = self._named("low", rest, statements)
        statements.append(loop(low, lambda i: register_tile(begin + i, 1), "t"))
        return statements

    def _store(self, first: Expr, count: Expr, width: int, tile: Expr, columns: Expr) -> tirx.Stmt:
        """Store the sums of `count` rows, `width` columns each, through the epilogue."""
        return store_sums(
            self.c,
            self.t.lanes,
            (self.sums, _int(0), width),
            (first, count),
            (self.x.first_column(tile), columns),
            self.analyzer,
        )


def _x_operand(
    contraction: Contraction, tiling: Tiling, tiles: Expr, rows: int | None
) -> DirectX | PanelX:
    """Return how X is read; `rows` of a panel at a time where it has to be expanded."""
    if contraction.panels is not None and contraction.panels.int8:
        return ExpandedX(contraction, tiling.lanes, rows)
    if contraction.panels is not None:
        return PanelX(contraction)
    if tiling.by_tile:
        return TileX(contraction, tiling)
    return PackedX(contraction, tiling, tiles) if tiling.pack_x else DirectX(contraction, tiling)
