"""The products of a block: for each of sixteen positions, transformed inputs by a panel."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import divide, remainder
from sam_tvm.kernels.generated import add_outer_product
from sam_tvm.kernels.loops import UNROLLED, loop, unrolled
from sam_tvm.kernels.vectors import Code, Lanes, index
from sam_tvm.kernels.winograd.problem import POSITIONS, Sizes, Tile


class Products:
    """Emits the products of one block.

    Attributes:
        inputs: transformed, for each position [rows_read, words].
        weight: the packed weight, flat.
        sums: of products, for each position [block, width].
    """

    def __init__(self, sizes: Sizes, tile: Tile, inputs: Var, weight: Var, sums: Var) -> None:
        self._sizes, self._tile = sizes, tile
        self.inputs, self.weight, self.sums = inputs, weight, sums
        self._lanes = Lanes(tile.lanes)
        self._chunks = -(-sizes.words // tile.longest)
        self._passes = self._chunks * sizes.slices // tile.slices

    def of_panel(self, panel: Expr, tiles: Expr, run: Expr) -> tirx.Stmt:
        """Return the products by a panel.

        Args:
            panel: its number.
            tiles: register tiles of the block.
            run: rows from one slice to the next.
        """
        sizes, t = self._sizes, self._tile

        def one_pass(position: Expr, number: Expr) -> tirx.Stmt:
            code = Code(self._lanes)
            piece = divide(number, self._chunks) if t.slices == 1 else index(0)
            begin = code.bind("begin", remainder(number, self._chunks) * t.longest)
            terms = index(sizes.words if self._chunks == 1 else t.longest)
            if sizes.words % t.longest and self._chunks > 1:
                terms = code.bind("terms", tirx.min(terms, sizes.words - begin))
            row = (panel * POSITIONS + position) * sizes.slices + piece
            weight = code.bind("pass_weight", (row * sizes.words + begin) * t.width)
            start = position * t.input_plane(sizes) + piece * run * sizes.words + begin
            start = code.bind("pass_inputs", start)
            to = code.bind("pass_sums", position * t.product_plane)

            def one_tile(which: Expr) -> tirx.Stmt:
                inner = Code(self._lanes)
                row = which * t.rows
                at = inner.bind("tile_inputs", start + row * sizes.words)
                place = inner.bind("tile_sums", to + row * t.width)
                self._tile_of(inner, at, weight, terms, run * sizes.words, place, number)
                return inner.body()

            code.add(loop(tiles, one_tile, "tile"))
            return code.body()

        def one_position(position: Expr) -> tirx.Stmt:
            return loop(index(self._passes), lambda n: one_pass(position, n), "pass")

        return loop(index(POSITIONS), one_position, "position")

    def _tile_of(
        self,
        code: Code,
        inputs: Expr,
        weight: Expr,
        terms: Expr,
        slice_step: Expr,
        place: Expr,
        number: Expr,
    ) -> None:
        """Add one register tile of a pass; the first pass overwrites the sums."""
        t, sizes = self._tile, self._sizes
        sums = {
            (r, v): code.register(f"sum_{r}_{v}") for r in range(t.rows) for v in range(t.vectors)
        }
        for total in sums.values():
            code.set(total, self._lanes.number(0.0))

        def piece(z: Expr) -> tirx.Stmt:
            inner = Code(self._lanes)
            x = inner.bind("x", inputs + z * slice_step)
            w = inner.bind("w", weight + z * (sizes.words * t.width))
            inner.add(self._all_terms(sums, x, w, terms))
            return inner.body()

        code.add(loop(index(t.slices), piece, "piece"))
        stores = [
            self._lanes.store(self.sums, code.get(total), place + (r * t.width + v * t.lanes))
            for (r, v), total in sums.items()
        ]
        if self._passes == 1:
            code.add(*stores)
            return
        added = []
        for (r, v), total in sums.items():
            at = place + (r * t.width + v * t.lanes)
            value = self._lanes.load(self.sums, at) + code.get(total)
            added.append(self._lanes.store(self.sums, value, at))
        code.add(tirx.IfThenElse(number == 0, tirx.SeqStmt(stores), tirx.SeqStmt(added)))

    def _all_terms(
        self, sums: dict[tuple[int, int], Var], x: Expr, w: Expr, terms: Expr
    ) -> tirx.Stmt:
        """Return the loop over a pass's terms."""
        t, words = self._tile, self._sizes.words

        def term(k: Expr) -> tirx.Stmt:
            vectors = [
                self._lanes.load(self.weight, w + k * t.width + v * t.lanes)
                for v in range(t.vectors)
            ]
            scalars = [tirx.BufferLoad(self.inputs, [x + (k + r * words)]) for r in range(t.rows)]
            return add_outer_product(self._lanes, sums, vectors, scalars, pairs=self._sizes.pairs)

        code = Code(self._lanes)
        whole = divide(terms, UNROLLED)
        code.add(unrolled(whole * UNROLLED, term, "k"))
        if words % UNROLLED:
            rest = terms - whole * UNROLLED
            code.add(loop(rest, lambda k: term(whole * UNROLLED + k), "k"))
        return code.body()
