"""A pass: rotary embeddings join the products that make queries and keys.

The channels of each head are arranged anew: of 2 r neighbours, the real parts first and then the
imaginary ones, r of each, where r is the lanes of a vector. Both are then in the same lanes of
two vectors, neighbours as `kernels.neighbours` has them, and nothing moves across lanes. Weights
and biases are arranged when the model is built; the products of queries and keys are the same.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.ir import Expr, Var
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass
from sam_tvm.kernels.neighbours import READS_NEIGHBOURS, neighbour
from sam_tvm.kernels.rotary.sites import Site, Sites
from sam_tvm.kernels.target_features import vector_unit


def place(target: tvm.target.Target | str) -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin.

    Args:
        target: an LLVM target; the lanes of its vectors decide the order of channels.
    """
    lanes = vector_unit(tvm.target.Target(target)).lanes
    return parameter_rewriting_pass("SamTvmPlaceRotary", lambda module: _Rewriter(module, lanes))


@mutator
class _Rewriter(Replacer):
    def __init__(self, module: tvm.IRModule, lanes: int) -> None:
        super().__init__(module)
        self.lanes = lanes
        self.values: dict[relax.Var, relax.Expr] = {}
        self.again: dict[relax.Var, relax.Expr] = {}
        self.tables: dict[tuple, relax.Expr] = {}

    def find(self, function: relax.Function) -> dict[relax.Var, Site | relax.Var]:
        """Return sites by their results, and by what had been turned the value before that."""
        self.values = dict(relax.analysis.get_var2val(function))
        parameters, module = set(parameter_values(function)), self.builder_.get()
        found: dict[relax.Var, Site | relax.Var] = {}
        for site in Sites(function, parameters, module, 2 * self.lanes).find():
            found |= {site.chain.result: site, **site.unturned}
        return found

    def replacement(self, _value: relax.Expr, found: Site | relax.Var) -> relax.Expr:
        """Return a site's product with its heads turned, or what had been turned of one."""
        return self._turned(found) if isinstance(found, Site) else self.visit_expr(found)

    def _turned(self, site: Site) -> relax.Expr:
        """Emit a product, its columns arranged, and the rotation of some of its heads."""
        call, bias = site.chain.product, site.chain.bias
        x, weight = (self.visit_expr(argument) for argument in call.args)
        columns = int(call.args[1].ty.shape[1])
        order = relax.const(arranged(columns, site.depth, site.heads, self.lanes), "int64")
        emit = self.builder_.emit
        weight = emit(relax.op.take(weight, order, axis=1))
        result = emit(relax.Call(call.op, [x, weight], call.attrs))
        if bias is not None:
            bias = emit(relax.op.take(self.visit_expr(bias), order, axis=0))
            result = emit(relax.op.add(result, bias))
        table = self._table(site, [int(extent) for extent in list(call.args[0].ty.shape)[:-1]])
        return emit(
            self.builder_.call_te(
                rotate,
                result,
                table,
                site.depth,
                _ranges(site),
                self.lanes,
                primfunc_name_hint="rotate",
                primfunc_attrs={READS_NEIGHBOURS: True},
            )
        )

    def _table(self, site: Site, rows: list[int]) -> relax.Expr:
        """Return cosines and sines for each row of a product, (*rows, D), made once for all."""
        key = (site.cosines, site.sines, *rows)
        if key not in self.tables:
            both = [self._emitted_again(var) for var in (site.cosines, site.sines)]
            call = self.builder_.call_te(
                _spread, *both, rows, site.positions, primfunc_name_hint="rotary_table"
            )
            self.tables[key] = self.builder_.emit(call)
        return self.tables[key]

    def _emitted_again(self, expr: relax.Expr) -> relax.Expr:
        """Emit a value that is needed before its place, with all that it is made of."""
        value = self.values.get(expr) if isinstance(expr, relax.Var) else None
        if not isinstance(value, relax.Call):
            return self.visit_expr(expr)
        if expr not in self.again:
            arguments = [self._emitted_again(argument) for argument in value.args]
            again = relax.Call(value.op, arguments, value.attrs, value.ty_args)
            self.again[expr] = self.builder_.emit(again)
        return self.again[expr]


def arranged(columns: int, depth: int, heads: frozenset[int], lanes: int) -> np.ndarray:
    """Return which column goes where, (N,) int64, so that pairs are neighbours a vector apart.

    Args:
        columns: N.
        depth: of a head, a multiple of two vectors.
        heads: the numbers of those that are turned; others keep their order.
        lanes: of a vector.
    """
    order = np.arange(columns).reshape(-1, depth)
    turned = order.reshape(len(order), -1, lanes, 2).swapaxes(2, 3).reshape(order.shape)
    return np.where(np.isin(np.arange(len(order)), list(heads))[:, None], turned, order).ravel()


def _ranges(site: Site) -> list[tuple[int, int]]:
    """Return the first column, and the one after the last, of each run of heads."""
    heads = sorted(site.heads)
    begins = [head for head in heads if head - 1 not in site.heads]
    ends = [head + 1 for head in heads if head + 1 not in site.heads]
    return [(a * site.depth, b * site.depth) for a, b in zip(begins, ends, strict=True)]


def _spread(cosines: te.Tensor, sines: te.Tensor, rows: list[int], positions: int) -> te.Tensor:
    """Return the cosines of each row, and its sines behind them."""
    half = cosines.shape[1]

    def cell(*point: Var) -> Expr:
        *at, column = point
        row: Expr = tirx.IntImm("int64", 0)
        for index, extent in zip(at, rows, strict=True):
            row = row * extent + index
        position = tirx.floormod(row, positions)
        sine = sines(position, tirx.max(column - half, 0))
        return tirx.Select(column < half, cosines(position, tirx.min(column, half - 1)), sine)

    return te.compute((*rows, 2 * half), cell, name="rotary_table")


def rotate(
    x: te.Tensor, table: te.Tensor, depth: int, ranges: list[tuple[int, int]], lanes: int
) -> te.Tensor:
    """Turn the pairs of some columns.

    Args:
        x: float32 (..., N), whose columns are `arranged`.
        table: float32 (..., D): for each row D / 2 cosines, then as many sines.
        depth: D.
        ranges: the first column, and the one after the last, of each run that is turned.
        lanes: between a real part and its imaginary one.

    Returns:
        float32 (..., N).
    """

    def cell(*point: Var) -> Expr:
        *at, column = point
        own, other = x(*at, column), x(*at, neighbour(column, lanes))
        pair = tirx.floordiv(tirx.floormod(column, depth), 2 * lanes) * lanes
        pair = pair + tirx.floormod(column, lanes)
        cosine, sine = table(*at, pair), table(*at, pair + depth // 2)
        is_real = tirx.floormod(tirx.floordiv(column, lanes), 2) < 1
        turned = tirx.Select(is_real, own * cosine - other * sine, own * cosine + other * sine)
        inside = [tirx.all(column >= begin, column < end) for begin, end in ranges]
        return tirx.Select(tirx.any(*inside), turned, own)

    return te.compute(x.shape, cell, name="rotate")
