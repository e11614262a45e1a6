"""Neighbours: an epilogue may read, beside its own sum, the one a vector further on or back.

Columns are taken in pairs of vectors, `reach` columns each, and lane by lane the two are each
other's neighbours. A rotary embedding whose pairs of channels were arranged like that
(`rotary/`) turns them without moving anything across lanes, while both sums are in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import divide, integer, map_loads, substitute
from sam_tvm.kernels.program import Axis, Stage, is_own_index

READS_NEIGHBOURS = "sam_tvm.reads_neighbours"  # attribute of a function before it is fused

_REACHES = (16, 8, 4)  # the lanes of a vector, on any CPU
_MOST_VECTORS = 1 << 40


@dataclass(frozen=True)
class Neighbour:
    """What stands for a neighbour's sum in an epilogue.

    Attributes:
        var: in its value.
        reach: columns away.

    """

    var: Var
    reach: int


def join_products() -> tvm.ir.transform.Pass:
    """A pass: what reads neighbours joins the product before it, as what is element-wise does.

    It runs between TVM's AnnotateTIROpPattern, which would look for itself, and FuseOps.
    """
    elementwise = 0

    @tvm.transform.module_pass(opt_level=0, name="SamTvmJoinProducts")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if READS_NEIGHBOURS in (function.attrs or {}):
                module[var] = function.with_attr("op_pattern", elementwise)
        return module

    return run


def neighbour(column: Expr, reach: int) -> Expr:
    """Return the column that a column's neighbour is."""
    side = tirx.floormod(tirx.floordiv(column, reach), 2)
    return column + reach - side * (2 * reach)


def reach_of(stage: Stage, source: Var, analyzer: sym.Analyzer) -> int | None:
    """Return how far a stage reads from its own point, along its last axis.

    Returns:
        0 if it reads `source` at its own point only, the reach if it reads neighbours too, None if
        it reads anything else of it.

    """
    found = 0
    for load in stage.reads():
        if not load.source.same_as(source):
            continue
        reach = _reach(load, stage.axes, analyzer)
        if reach is None or (reach and found not in (0, reach)):
            return None
        found = max(found, reach)
    return found


def _reach(load: TensorLoad, axes: tuple[Axis, ...], analyzer: sym.Analyzer) -> int | None:
    if len(load.indices) != len(axes):
        return None
    *outer, column = load.indices
    *others, last = axes
    if not all(map(is_own_index, outer, others)):
        return None
    if is_own_index(column, last):
        return 0
    matching = (
        reach for reach in _REACHES if analyzer.can_prove_equal(column, neighbour(last.var, reach))
    )
    return next(matching, None)


def at_column(value: Expr, column: Var, first: Expr, lane: Expr, lanes: int) -> Expr:
    """Return an epilogue's value at the column `first + lane`, where `first` begins a vector.

    What a vector's columns have in common is worked out, so that neither conditions nor positions
    in tables differ from lane to lane in ways that only numbers show.

    Args:
        value: in terms of `column`.
        column: the variable.
        first: a multiple of `lanes`.
        lane: below `lanes`.
        lanes: of the vector, a power of two.

    """
    analyzer = sym.Analyzer()
    vector, inner = Var("vector", "int64"), Var("lane", "int64")
    analyzer.bind(vector, tvm.ir.Range(0, integer(_MOST_VECTORS, "int64")))
    analyzer.bind(inner, tvm.ir.Range(0, integer(lanes, "int64")))

    def load(old: TensorLoad) -> Expr:
        return tirx.BufferLoad(old.source, [analyzer.simplify(i) for i in old.indices])

    def select(old: tirx.Select) -> Expr:
        condition = analyzer.simplify(old.condition)
        return tirx.Select(condition, old.true_value, old.false_value)

    value = substitute(value, {column: vector * lanes + inner})
    value = tvm_ffi.structural_map(map_loads(value, load), (tirx.Select, select))
    return substitute(value, {vector: divide(first, lanes), inner: lane})
