"""The gathered product's PrimFunc: tasks, each a block of results by some panels of the weight.

A task first sorts what its block needs by tap: for each tap the rows of x that are there, and the
result that each belongs to (`lists`). A tap's product is then dense, read from x row by row where
they lie (`tile`), and nothing is computed for neighbours that are missing.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import constant_value, divide, divide_up, remainder
from sam_tvm.kernels.gathered.lists import Lists
from sam_tvm.kernels.gathered.problem import Sizes, Tile
from sam_tvm.kernels.gathered.tile import RegisterTile
from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop, vector
from sam_tvm.kernels.products.tiling import column_splits
from sam_tvm.kernels.vectors import Code, Lanes, index

RULE = "gathered_product"


def gathered_function(sizes: Sizes, tile: Tile) -> tirx.PrimFunc:
    """Return the scheduled function.

    Its arguments are x (R, terms), table (N, table_columns) int32, the packed weight (panels,
    weights, taps, terms, width), bias (columns,), the table's columns and the offsets of each
    group's taps (groups, taps) int32, start (N, columns) if there is one, and the result
    (N * groups, columns). R and N are symbolic.
    """
    rows, entries = Var("source_rows", "int64"), Var("entries", "int64")
    panels = -(-sizes.columns // tile.width)
    parameters = {
        "x": ((rows, sizes.terms), "float32"),
        "table": ((entries, sizes.table_columns), "int32"),
        "weight": ((panels, sizes.weights, sizes.taps, sizes.terms, tile.width), "float32"),
        "bias": ((sizes.columns,), "float32"),
        "columns": ((sizes.groups, sizes.taps), "int32"),
        "offsets": ((sizes.groups, sizes.taps), "int32"),
        "start": ((entries, sizes.columns), "float32"),
        "result": ((entries * sizes.groups, sizes.columns), "float32"),
    }
    if not sizes.has_start:
        del parameters["start"]
    tensors, flat, code = [], {}, Code(Lanes(tile.lanes))
    for name, (shape, dtype) in parameters.items():
        tensors.append(tirx.decl_buffer(shape, dtype, name))
        flat[name] = flat_view(tensors[-1], code)
    _Product(sizes, tile, flat, entries, panels).emit(code)
    return finished(tensors, code.body(), RULE)


class _Product:
    """Emits one product.

    Attributes:
        sizes, tile: what it is made for.
        flat: flat buffers by the names of the arguments.
        entries: rows of the table.
        panels: of the weight.
    """

    def __init__(
        self, sizes: Sizes, tile: Tile, flat: dict[str, Var], entries: Expr, panels: int
    ) -> None:
        self.sizes, self.tile, self.flat = sizes, tile, flat
        self.entries, self.panels = entries, panels
        self.block_rows = tile.entries * sizes.step

    def emit(self, code: Code) -> None:
        """Add the parallel loop: blocks of the table's rows, by weights, by parts of the panels."""
        blocks = code.bind("blocks", divide_up(self.entries, self.tile.entries))
        rows = code.bind("row_tasks", blocks * self.sizes.weights)
        splits = column_splits(rows, index(self.panels), False)
        per_task = code.bind("per_task", divide_up(index(self.panels), splits))
        parts = code.bind("parts", divide_up(index(self.panels), per_task))

        def task(number: Expr) -> tirx.Stmt:
            inner = Code(code.lanes)
            position = inner.bind("position", divide(number, parts))
            begin = inner.bind("first_panel", remainder(number, parts) * per_task)
            count = inner.bind("panel_count", tirx.min(per_task, self.panels - begin))
            group = inner.bind("group", divide(position, blocks))
            first = inner.bind("first", remainder(position, blocks) * self.tile.entries)
            here = inner.bind("here", tirx.min(index(self.tile.entries), self.entries - first))
            self._block(inner, first, here, group, begin, count)
            return inner.body()

        code.add(loop(rows * parts, task, "task", tirx.ForKind.PARALLEL))

    def _block(
        self, code: Code, first: Expr, entries: Expr, group: Expr, begin: Expr, count: Expr
    ) -> None:
        """Add one block of results by `count` panels from `begin` on.

        Args:
            code: where to.
            first: the first row of the table.
            entries: how many.
            group: whose weights; 0 where all groups share them.
            begin: the first panel.
            count: how many.
        """
        sizes, tile = self.sizes, self.tile
        lists = Lists(sizes, tile, self.flat, self.block_rows, code)
        lists.fill(code, first, entries, group)
        # The last row takes what lists are filled up with.
        sums, allocation = scratch((self.block_rows + 1) * tile.width, "float32", "sums")
        code.add(*allocation)
        register_tile = RegisterTile(sizes, tile, self.flat["x"], self.flat["weight"], sums, lists)

        def panel(number: Expr) -> tirx.Stmt:
            inner = Code(code.lanes)
            at = inner.bind("panel", begin + number)
            vectors = index(self.block_rows * tile.vectors)
            zero = code.lanes.number(0.0)
            inner.add(
                loop(vectors, lambda v: code.lanes.store(sums, zero, v * tile.lanes), "clear")
            )
            weight = inner.bind("weight", at * sizes.weights + group)
            inner.add(register_tile.all_taps(weight))
            self._store(inner, sums, first, entries, group, at)
            return inner.body()

        code.add(loop(count, panel, "panel"))

    def _store(
        self, code: Code, sums: Var, first: Expr, entries: Expr, group: Expr, panel: Expr
    ) -> None:
        """Add the store of a block's sums in a panel, with bias and start."""
        sizes, tile = self.sizes, self.tile
        begin = code.bind("first_column", panel * tile.width)
        columns: Expr = index(tile.width)
        if sizes.columns % tile.width:
            columns = code.bind("columns_here", tirx.min(columns, sizes.columns - begin))

        def cell(entry: Expr, part: Expr | int, i: Expr) -> tirx.Stmt:
            row = entry * sizes.step + part
            value = tirx.BufferLoad(sums, [row * tile.width + i])
            value = value + tirx.BufferLoad(self.flat["bias"], [begin + i])
            if sizes.has_start:
                at = (first + entry) * sizes.columns + begin + i
                value = value + tirx.BufferLoad(self.flat["start"], [at])
            to = ((first + entry) * sizes.groups + group + part) * sizes.columns + begin + i
            return tirx.BufferStore(self.flat["result"], value, [to])

        whole = code.bind("whole", divide(columns, tile.lanes))
        rest = code.bind("rest", columns - whole * tile.lanes)

        def row(entry: Expr, part: Expr | int) -> tirx.Stmt:
            inner = Code(code.lanes)
            inner.add(
                loop(
                    whole,
                    lambda v: vector(
                        tile.lanes, columns, lambda i: cell(entry, part, v * tile.lanes + i)
                    ),
                    "vector",
                )
            )
            if constant_value(rest) != 0:
                inner.add(loop(rest, lambda i: cell(entry, part, whole * tile.lanes + i), "column"))
            return inner.body()

        code.add(
            loop(
                entries,
                lambda entry: loop(index(sizes.step), lambda part: row(entry, part), "part"),
                "entry",
            )
        )
