"""A pass: few queries meet the weights of keys and values, and not each of many positions.

With keys `x wk + bk` and values `y wv + bv`, attention of queries q is

    softmax(q (x wk + bk)^T) (y wv + bv) = (softmax((q wk^T) x^T) y) wv + bv

for each head: what `bk` adds is the same for all keys of a query, and the weights add up to 1. A
handful of clicks on a picture then never projects its 5,184 positions (DeepSeek-V2, 2024, section
2.1.2, leaves projections to the queries in the same way). Products of activations and a softmax
compute the right side: there are as few rows of scores as queries times heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import tvm
from tvm import relax, sym
from tvm.ir import Expr
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.attention.operands import is_supported
from sam_tvm.kernels.attention.readers import Readers
from sam_tvm.kernels.attention.views import View, has_shape, trace, whole
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.movement import shape_of, size_of
from sam_tvm.kernels.operators import operator_name
from sam_tvm.kernels.parameters import is_product_with, parameter_values
from sam_tvm.kernels.rewriting import Rewriter, parameter_rewriting_pass

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
class _Projection:
    """Keys or values as a product that attention alone reads.

    Attributes:
        x: (.., .., C), positions and batches in either order.
        axes: the permutation that makes it (B, T, C).
        weight: (C, H * D).
        bias: (H * D), None if nothing is added.

    """

    x: relax.Var
    axes: tuple[int, ...]
    weight: relax.Var
    bias: relax.Var | None

    @property
    def channels(self) -> int:
        """C."""
        return int(shape_of(self.weight)[0])


@mutator
class _Rewriter(Rewriter):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.found: dict[relax.Var, tuple[_Projection, _Projection]] = {}

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look for such attention first."""
        search = _Search(Readers(function), set(parameter_values(function)))
        for var, call in search.readers.values.items():
            projections = search.projections(var, call)
            if projections is not None and _pays(call, *projections):
                self.found[var] = projections
        self.changed = bool(self.found)
        return super().visit_function_(function)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Rewrite one binding, if it is such attention."""
        if binding.var not in self.found:
            super().visit_var_binding_(binding)
            return
        value = self._attention(binding.value, *self.found[binding.var])
        is_inner = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if is_inner else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(value))

    def _attention(self, call: relax.Call, keys: _Projection, values: _Projection) -> relax.Expr:
        """Return the call's value, (B, Q, H, D)."""
        op, emit = relax.op, self.builder_.emit
        batch, queries, heads, depth = shape_of(call.args[0])
        value_depth = shape_of(call.args[2])[-1]
        scale = call.attrs.scale
        scale = 1 / math.sqrt(int(depth)) if scale is None else float(scale.value)

        weight = self._by_heads(keys.weight, heads, depth, [1, 2, 0])
        weight = emit(op.multiply(weight, relax.const(scale, "float32")))
        rows = emit(op.permute_dims(self.visit_expr(call.args[0]), [0, 2, 1, 3]))
        rows = emit(op.matmul(rows, weight))
        rows = emit(op.reshape(rows, [batch, heads * queries, size_of(keys.channels)]))

        first, second, last = keys.axes
        turned = emit(op.permute_dims(self.visit_expr(keys.x), [first, last, second]))
        scores = emit(op.nn.softmax(emit(op.matmul(rows, turned)), axis=-1))
        y = emit(op.permute_dims(self.visit_expr(values.x), list(values.axes)))
        mixed = emit(op.matmul(scores, y))
        mixed = emit(op.reshape(mixed, [batch, heads, queries, size_of(values.channels)]))

        weight = self._by_heads(values.weight, heads, value_depth, [1, 0, 2])
        result = emit(op.matmul(mixed, weight))
        if values.bias is not None:
            bias = op.reshape(self.visit_expr(values.bias), [heads, size_of(1), value_depth])
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

    def projections(
        self, var: relax.Var, call: relax.Expr
    ) -> tuple[_Projection, _Projection] | None:
        """Return what makes keys and values; None if a value is no such attention."""
        if not is_supported(call) or len(call.args) > 3 or call.attrs.causal_mask is not None:
            return None
        keys, values = (self._projection(tensor, var) for tensor in call.args[1:])
        return None if keys is None or values is None else (keys, values)

    def _projection(self, tensor: relax.Expr, reader: relax.Var) -> _Projection | None:
        """Return the product that a tensor (B, T, H, D) is a view of."""
        for view in trace(tensor, self.readers.values, self._analyzer):
            value, bias = self.readers.values.get(view.base), None
            if operator_name(value) == "relax.add":
                value, bias = self._without_bias(value)
            if not is_product_with(value, self._parameters) or view.base in self._parameters:
                continue
            axes = self._axes(view, shape_of(tensor))
            ends = {end for _, end in self.readers.ends(view.base)}
            if axes is None or ends != {reader} or not has_shape(value.args[0]):
                return None
            return _Projection(value.args[0], axes, value.args[1], bias)
        return None

    def _without_bias(self, call: relax.Call) -> tuple[relax.Expr | None, relax.Var | None]:
        """Return the product that a bias alone is added to, and the bias."""
        biases = [a for a in call.args if a in self._parameters and a.ty.ndim == 1]
        others = [a for a in call.args if a not in self._parameters]
        if len(biases) != 1 or len(others) != 1 or self.readers.only(others[0]) is None:
            return None, None
        return self.readers.values.get(others[0]), biases[0]

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


def _pays(call: relax.Call, keys: _Projection, values: _Projection) -> bool:
    """Tell whether fewer multiplications are left."""
    _, queries, heads, depth = map(constant_value, shape_of(call.args[0]))
    positions, value_depth = (constant_value(shape_of(call.args[2])[axis]) for axis in (1, 3))
    if heads is None or positions is None or positions < _FEWEST_KEYS:
        return False
    rows = heads * (_ASSUMED if queries is None else queries)
    channels = keys.channels + values.channels
    projected = heads * (keys.channels * depth + values.channels * value_depth)
    direct = positions * (projected + rows * (depth + value_depth))
    from_the_left = rows * (keys.channels * depth + values.channels * value_depth)
    from_the_left += positions * rows * channels
    return _GAIN * from_the_left < direct
