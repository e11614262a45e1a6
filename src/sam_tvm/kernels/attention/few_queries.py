"""A pass: few queries meet the weights of keys and values, and not each of many positions.

With keys `x wk + bk` and values `y wv + bv`, attention of queries q is

    softmax(q (x wk + bk)^T) (y wv + bv) = (softmax((q wk^T) x^T) y) wv + bv

for each head: what `bk` adds is the same for all keys of a query, and the weights add up to 1. A
handful of clicks on a picture then never projects its 5,184 positions (DeepSeek-V2, 2024, section
2.1.2, leaves projections to the queries in the same way). Products of activations and a softmax
compute the right side: there are as few rows of scores as queries times heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import tvm
from tvm import relax, sym
from tvm.ir import Expr
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.attention.operands import is_supported, scale_of
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import shape_of, size_of
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.projections import Projection, projection
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass
from sam_tvm.kernels.graph.views import View, has_shape, trace, whole

_ASSUMED = 16  # queries where their number is not known: more than most prompts have
_FEWEST_KEYS = 512  # of which a known number makes projections worth while
_GAIN = 1.5  # times as many multiplications have to be spared


def project_few_queries() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin.

    An unknown number of queries is taken for `_ASSUMED`. With more than about as many queries as a
    head has channels the projections would have been faster.
    """
    return parameter_rewriting_pass("SamTvmProjectFewQueries", _Rewriter)


@dataclass(frozen=True)
class _Projected:
    """Keys or values that attention alone reads.

    Attributes:
        by: (.., .., C), positions and batches in either order, times (C, H * D).
        axes: the permutation that makes it (B, T, C).

    """

    by: Projection
    axes: tuple[int, ...]

    @property
    def channels(self) -> int:
        """C."""
        return int(shape_of(self.by.weight)[0])


@mutator
class _Rewriter(Replacer):
    def find(self, function: relax.Function) -> dict[relax.Var, tuple[_Projected, _Projected]]:
        """Return the keys and values of such attention."""
        search = _Search(Readers(function), set(parameter_values(function)))
        found = {}
        for var, call in search.readers.values.items():
            projected = search.keys_and_values(var, call)
            if projected is not None and _pays(call, *projected):
                found[var] = projected
        return found

    def replacement(self, call: relax.Call, found: tuple[_Projected, _Projected]) -> relax.Expr:
        """Return the call's value, (B, Q, H, D)."""
        keys, values = found
        op, emit = relax.op, self.builder_.emit
        batch, queries, heads, depth = shape_of(call.args[0])
        value_depth = shape_of(call.args[2])[-1]

        weight = self._by_heads(keys.by.weight, heads, depth, [1, 2, 0])
        weight = emit(op.multiply(weight, relax.const(scale_of(call), "float32")))
        rows = emit(op.permute_dims(self.visit_expr(call.args[0]), [0, 2, 1, 3]))
        rows = emit(op.matmul(rows, weight))
        rows = emit(op.reshape(rows, [batch, heads * queries, size_of(keys.channels)]))

        first, second, last = keys.axes
        turned = emit(op.permute_dims(self.visit_expr(keys.by.x), [first, last, second]))
        scores = emit(op.nn.softmax(emit(op.matmul(rows, turned)), axis=-1))
        y = emit(op.permute_dims(self.visit_expr(values.by.x), list(values.axes)))
        mixed = emit(op.matmul(scores, y))
        mixed = emit(op.reshape(mixed, [batch, heads, queries, size_of(values.channels)]))

        weight = self._by_heads(values.by.weight, heads, value_depth, [1, 0, 2])
        result = emit(op.matmul(mixed, weight))
        if values.by.bias is not None:
            bias = op.reshape(self.visit_expr(values.by.bias), [heads, size_of(1), value_depth])
            result = emit(op.add(result, emit(bias)))
        return op.permute_dims(result, [0, 2, 1, 3])

    def _by_heads(self, weight: relax.Var, heads: Expr, depth: Expr, axes: list[int]) -> relax.Expr:
        """Return a weight (C, H * D) as (C, H, D) with these axes."""
        op, emit = relax.op, self.builder_.emit
        split = [shape_of(weight)[0], heads, depth]
        return emit(op.permute_dims(emit(op.reshape(self.visit_expr(weight), split)), axes))


class _Search:
    """Looks for attention whose keys and values are projected for it alone."""

    def __init__(self, readers: Readers, parameters: set[relax.Var]) -> None:
        self.readers, self._parameters = readers, parameters
        self._analyzer = sym.Analyzer()

    def keys_and_values(
        self, var: relax.Var, call: relax.Expr
    ) -> tuple[_Projected, _Projected] | None:
        """Return what makes keys and values; None if a value is no such attention."""
        if not is_supported(call) or len(call.args) > 3 or call.attrs.causal_mask is not None:
            return None
        keys, values = (self._projected(tensor, var) for tensor in call.args[1:])
        return None if keys is None or values is None else (keys, values)

    def _projected(self, tensor: relax.Expr, reader: relax.Var) -> _Projected | None:
        """Return the product that a tensor (B, T, H, D) is a view of."""
        for view in trace(tensor, self.readers.values, self._analyzer):
            made = projection(self.readers.values.get(view.base), self.readers, self._parameters)
            if made is None or view.base in self._parameters:
                continue
            axes = self._axes(view, shape_of(tensor))
            ends = {end for _, end in self.readers.ends(view.base)}
            if axes is None or ends != {reader} or not has_shape(made.x):
                return None
            return _Projected(made, axes)
        return None

    def _axes(self, view: View, shape: tuple[Expr, ...]) -> tuple[int, ...] | None:
        """Return the order of a product's axes in which its rows are (B, T), if they are whole."""
        rank = len(shape_of(view.base))
        if rank != 3:
            return None
        for order in permutations(range(rank - 1)):
            axes = (*order, rank - 1)
            expected = whole(view.base).permuted(axes).reshaped(shape, self._analyzer)
            if expected is not None and self._same(expected, view):
                return axes
        return None

    def _same(self, a: View, b: View) -> bool:
        """Tell whether two views of the same tensor are equal for all values of symbols."""
        if [len(loops) for loops in a.axes] != [len(loops) for loops in b.axes]:
            return False
        pairs = zip(_numbers(a), _numbers(b), strict=True)
        return all(self._analyzer.can_prove_equal(*pair) for pair in pairs)


def _numbers(view: View) -> list[Expr]:
    """What describes a view: its offset, the extents and strides of its loops."""
    return [view.offset, *(n for loops in view.axes for loop in loops for n in loop)]


def _pays(call: relax.Call, keys: _Projected, values: _Projected) -> bool:
    """Tell whether fewer multiplications are left."""
    _, queries, heads, depth = map(constant_value, shape_of(call.args[0]))
    positions, value_depth = (constant_value(shape_of(call.args[2])[axis]) for axis in (1, 3))
    if heads is None or positions is None or positions < _FEWEST_KEYS:
        return False
    rows = heads * (_ASSUMED if queries is None else queries)
    channels = keys.channels + values.channels
    projected = keys.channels * depth + values.channels * value_depth  # of a row, by a head
    direct = positions * (heads * projected + rows * (depth + value_depth))
    from_the_left = rows * (projected + positions * channels)
    return _GAIN * from_the_left < direct
