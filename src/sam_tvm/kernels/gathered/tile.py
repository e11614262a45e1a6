"""The register tile: some rows of x, wherever they lie, by one panel of a tap's weight."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.gathered.lists import Lists
from sam_tvm.kernels.gathered.problem import Sizes, Tile
from sam_tvm.kernels.generated import add_outer_product
from sam_tvm.kernels.loops import loop, unrolled
from sam_tvm.kernels.vectors import Code, Lanes, index


class RegisterTile:
    """Emits the products of a block, which are added to its sums."""

    def __init__(
        self, sizes: Sizes, tile: Tile, x: Var, weight: Var, sums: Var, lists: Lists
    ) -> None:
        self._sizes, self._tile, self._lists = sizes, tile, lists
        self._x, self._weight, self._sums = x, weight, sums
        self._lanes = Lanes(tile.lanes)

    def all_taps(self, weight: Expr) -> tirx.Stmt:
        """Return the products of all taps.

        Args:
            weight: number of the panel and group, whose taps follow one another in memory.
        """
        sizes, longest = self._sizes, self._tile.longest
        passes = -(-sizes.terms // longest)

        def tap(number: Expr) -> tirx.Stmt:
            code = Code(self._lanes)
            tiles = code.bind("tile_count", self._lists.tiles(number))
            start = code.bind("tap_weight", (weight * sizes.taps + number) * sizes.terms)

            def one_pass(which: Expr) -> tirx.Stmt:
                inner = Code(self._lanes)
                begin = inner.bind("begin", which * longest)
                terms = index(longest)
                if sizes.terms % longest:
                    terms = inner.bind("terms", tirx.min(terms, sizes.terms - begin))
                at = inner.bind("pass_weight", (start + begin) * self._tile.width)
                inner.add(loop(tiles, lambda t: self._one(number, t, begin, terms, at), "tile"))
                return inner.body()

            code.add(loop(index(passes), one_pass, "pass"))
            return code.body()

        return loop(index(sizes.taps), tap, "tap")

    def _one(self, tap: Expr, tile: Expr, begin: Expr, terms: Expr, weight: Expr) -> tirx.Stmt:
        """Return one tile's pass over `terms` terms from `begin` on."""
        code, t = Code(self._lanes), self._tile
        first = code.bind("first_row", tile * t.rows)
        rows = [
            code.bind(f"row_{r}", self._lists.source(tap, first + r) * self._sizes.terms + begin)
            for r in range(t.rows)
        ]
        sums = {
            (r, v): code.register(f"sum_{r}_{v}") for r in range(t.rows) for v in range(t.vectors)
        }
        for total in sums.values():
            code.set(total, self._lanes.number(0.0))

        def term(k: Expr) -> tirx.Stmt:
            vectors = [
                self._lanes.load(self._weight, weight + k * t.width + v * t.lanes)
                for v in range(t.vectors)
            ]
            scalars = [tirx.BufferLoad(self._x, [row + k]) for row in rows]
            return add_outer_product(self._lanes, sums, vectors, scalars)

        code.add(unrolled(terms, term, "k"))
        for r in range(t.rows):
            place = code.bind(f"place_{r}", self._lists.place(tap, first + r) * t.width)
            for v in range(t.vectors):
                at = place + v * t.lanes
                total = self._lanes.load(self._sums, at) + code.get(sums[r, v])
                code.add(self._lanes.store(self._sums, total, at))
        return code.body()
