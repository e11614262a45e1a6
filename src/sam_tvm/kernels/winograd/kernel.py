"""The Winograd convolution's PrimFunc: tasks, each a block of tiles by some panels of the weight.

A tile is 2x2 neighbouring results. A task transforms the inputs of its tiles, multiplies them with
the transformed weight, one product of matrices for each of sixteen positions, and transforms the
products to results. What is transformed stays in the cache: nothing of it is kept for other tasks.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16_instructions import import_instructions
from sam_tvm.kernels.expressions import divide, divide_up, remainder
from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, Lanes, index
from sam_tvm.kernels.winograd.block import Block, Extent
from sam_tvm.kernels.winograd.problem import POSITIONS, Sizes, Tile
from sam_tvm.kernels.winograd.products import Products

RULE = "winograd"
_TASKS = 16  # so that threads finish together; each transforms its inputs anew


def winograd_function(sizes: Sizes, tile: Tile) -> tirx.PrimFunc:
    """Return the scheduled function.

    Its arguments are x (B, H, W, C), or (B, D, H, W, C) of a volume, the packed weight (panels, 16,
    slices, C, width), bias (outputs,) if there is one, and the result, channels last, too. All are
    float32, but for a weight of pairs, which is uint32 and has half as many rows; B is symbolic.
    """
    batch = Var("batch", "int64")
    panels = -(-sizes.outputs // tile.width)
    axes = slice(0 if sizes.volume else 1, 3)
    parameters = {
        "x": (batch, *sizes.size[axes], sizes.channels),
        "weight": (panels, POSITIONS, sizes.slices, sizes.words, tile.width),
        "bias": (sizes.outputs,),
        "result": (batch, *sizes.results[axes], sizes.outputs),
    }
    if not sizes.has_bias:
        del parameters["bias"]
    tensors, flat, code = [], {}, Code(Lanes(tile.lanes))
    for name, shape in parameters.items():
        dtype = sizes.dtype if name == "weight" else "float32"
        tensors.append(tirx.decl_buffer(shape, dtype, name))
        flat[name] = flat_view(tensors[-1], code)
    _add_tasks(code, sizes, tile, flat, batch, panels)
    body = import_instructions(code.body()) if sizes.pairs else code.body()
    return finished(tensors, body, RULE)


def _add_tasks(
    code: Code, sizes: Sizes, tile: Tile, flat: dict[str, Var], batch: Expr, panels: int
) -> None:
    """Add the parallel loop: runs of tiles, by groups of slices, by parts of the panels."""
    depth, groups = sizes.results[0], -(-sizes.results[0] // tile.deep)
    tiles = code.bind("tiles", batch * (sizes.tiles[0] * sizes.tiles[1]))
    blocks = code.bind("blocks", divide_up(tiles, tile.run) * groups)
    splits = tirx.min(index(panels), divide(index(_TASKS) + blocks - 1, blocks))
    per_task = code.bind("per_task", divide_up(index(panels), splits))
    parts = code.bind("parts", divide_up(index(panels), per_task))

    def task(number: Expr) -> tirx.Stmt:
        inner = Code(code.lanes)
        position = inner.bind("position", divide(number, parts))
        begin = inner.bind("first_panel", remainder(number, parts) * per_task)
        count = inner.bind("panel_count", tirx.min(per_task, panels - begin))
        first = inner.bind("first", divide(position, groups) * tile.run)
        run = inner.bind("run", tirx.min(index(tile.run), tiles - first))
        top = inner.bind("top", remainder(position, groups) * tile.deep)
        deep = inner.bind("deep", tirx.min(index(tile.deep), depth - top))
        _add_block(inner, sizes, tile, flat, Extent(first, run, top, deep), begin, count)
        return inner.body()

    code.add(loop(blocks * parts, task, "task", tirx.ForKind.PARALLEL))


def _add_block(
    code: Code,
    sizes: Sizes,
    tile: Tile,
    flat: dict[str, Var],
    extent: Extent,
    begin: Expr,
    count: Expr,
) -> None:
    """Add one block of results by `count` panels from `begin` on."""
    inputs, allocation = scratch(POSITIONS * tile.input_plane(sizes), sizes.dtype, "inputs")
    code.add(*allocation)
    sums, allocation = scratch(POSITIONS * tile.product_plane, "float32", "sums")
    code.add(*allocation)
    block = Block(sizes, tile, extent)
    register_tiles = code.bind("register_tiles", divide_up(extent.run * extent.deep, tile.rows))
    block.transform(code, flat["x"], inputs, register_tiles)
    products = Products(sizes, tile, inputs, flat["weight"], sums)

    def panel(number: Expr) -> tirx.Stmt:
        inner = Code(code.lanes)
        at = inner.bind("panel", begin + number)
        inner.add(products.of_panel(at, register_tiles, extent.run))
        block.store(inner, sums, flat, at)
        return inner.body()

    code.add(loop(count, panel, "panel"))
