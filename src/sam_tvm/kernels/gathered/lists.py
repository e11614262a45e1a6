"""What a block reads, sorted by tap: rows of x that are there, and whose result each adds to."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import divide_up
from sam_tvm.kernels.gathered.problem import Sizes, Tile
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, index


class Lists:
    """Emits the lists of a block, in memory of the task's own.

    Each is filled up to a whole number of register tiles with a row that exists and a result that
    nobody reads, so that every tile has the same height.
    """

    def __init__(
        self, sizes: Sizes, tile: Tile, flat: dict[str, Var], results: int, code: Code
    ) -> None:
        """Allocate the lists of a block of so many results."""
        self._sizes, self._tile, self._flat, self._results = sizes, tile, flat, results
        self._capacity = results + tile.rows
        length = sizes.taps * self._capacity
        self._sources, sources = scratch(length, "int32", "sources")
        self._places, places = scratch(length, "int32", "places")
        self._tiles, tiles = scratch(sizes.taps, "int32", "tiles")
        code.add(*sources, *places, *tiles)

    def tiles(self, tap: Expr) -> Expr:
        """Return how many register tiles a tap has; it may be none."""
        return tirx.Cast("int64", tirx.BufferLoad(self._tiles, [tap]))

    def source(self, tap: Expr, position: Expr) -> Expr:
        """Return the row of x at a position of a tap's list."""
        return tirx.Cast("int64", tirx.BufferLoad(self._sources, [tap * self._capacity + position]))

    def place(self, tap: Expr, position: Expr) -> Expr:
        """Return the result, counted from the block's first, that the row adds to."""
        return tirx.Cast("int64", tirx.BufferLoad(self._places, [tap * self._capacity + position]))

    def fill(self, code: Code, first: Expr, entries: Expr, group: Expr) -> None:
        """Add what writes the lists.

        Args:
            code: where to.
            first: the block's first row of the table.
            entries: how many it has.
            group: whose taps, where groups have weights of their own; else 0.
        """

        def tap(number: Expr) -> tirx.Stmt:
            return self._tap(code, first, entries, group, number)

        code.add(loop(index(self._sizes.taps), tap, "tap"))

    def _tap(self, outer: Code, first: Expr, entries: Expr, group: Expr, tap: Expr) -> tirx.Stmt:
        sizes, code = self._sizes, Code(outer.lanes)
        count = tirx.decl_buffer((1,), "int32", "count")
        zero = [index(0)]
        code.add(tirx.AllocBuffer(count), tirx.BufferStore(count, _word(0), zero))
        length = tirx.BufferLoad(count, zero)
        begin = code.bind("list", tap * self._capacity)

        def write(offset: Expr | int, source: Expr, place: Expr) -> list[tirx.Stmt]:
            at = begin + tirx.Cast("int64", length) + offset
            return [
                tirx.BufferStore(self._sources, source, [at]),
                tirx.BufferStore(self._places, place, [at]),
            ]

        def entry(number: Expr) -> tirx.Stmt:
            return loop(index(sizes.step), lambda part: one(number, part), "part")

        def one(number: Expr, part: Expr) -> tirx.Stmt:
            which = (group + part) * sizes.taps + tap
            column = tirx.Cast("int64", tirx.BufferLoad(self._flat["columns"], [which]))
            at = (first + number) * sizes.table_columns + column
            named = tirx.BufferLoad(self._flat["table"], [at])
            source = (named - 1) * sizes.step + tirx.BufferLoad(self._flat["offsets"], [which])
            place = tirx.Cast("int32", number * sizes.step + part)
            # Written whether it is there or not: what is not is written over.
            there = tirx.Cast("int32", named > 0)
            return tirx.SeqStmt(
                [*write(0, source, place), tirx.BufferStore(count, length + there, zero)]
            )

        code.add(loop(entries, entry, "entry"))
        unused = _word(self._results)
        for number in range(self._tile.rows):
            code.add(*write(number, _word(0), unused))
        tiles = divide_up(length, self._tile.rows)
        code.add(tirx.BufferStore(self._tiles, tiles, [tap]))
        return code.body()


def _word(value: int) -> Expr:
    return tirx.IntImm("int32", value)
