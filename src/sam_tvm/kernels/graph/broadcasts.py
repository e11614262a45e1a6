"""Permutations before broadcasts: the small operands are turned around instead of the large result.

`permute(reshape(a + b))`, where `a` and `b` are each much smaller than their sum, is the same as
`reshape(permute(a) + permute(b))`. The sum is then computed where its reader wants it.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import ONE, axis_groups, shape_of
from sam_tvm.kernels.graph.operators import BINARY, PERMUTE, RESHAPES, operator_name
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

_LEAST_GROWTH = 4  # times that the result has an operand's elements


def permute_before_broadcast() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmPermuteBeforeBroadcast", _Rewriter)


@mutator
class _Rewriter(Rewriter):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it permutes what was broadcast."""
        call = super().visit_call_(call)
        if operator_name(call) != PERMUTE or call.attrs.axes is None:
            return call
        source = self.value(call.args[0])
        if operator_name(source) in RESHAPES:
            before, whole = source.args[0], tuple(source.ty.shape)
        else:
            before, whole = call.args[0], tuple(call.args[0].ty.shape)
        broadcast = self.value(before)
        if operator_name(broadcast) not in BINARY or not all(
            _is_small(operand, broadcast) for operand in broadcast.args
        ):
            return call
        axes = _axes_before(tuple(before.ty.shape), whole, [int(a) for a in call.attrs.axes])
        if axes is None:
            return call
        self.changed = True
        operands = [self._permuted(operand, axes) for operand in broadcast.args]
        result = self.builder_.emit(relax.Call(broadcast.op, operands))
        return relax.op.reshape(result, list(call.ty.shape))

    def _permuted(self, operand: relax.Expr, axes: list[int]) -> relax.Expr:
        shape = shape_of(operand)
        if len(shape) < len(axes):
            filled = (ONE,) * (len(axes) - len(shape)) + shape
            operand = self.builder_.emit(relax.op.reshape(operand, list(filled)))
        return self.builder_.emit(relax.op.permute_dims(operand, axes))


def _is_small(operand: relax.Expr, result: relax.Expr) -> bool:
    """Tell whether the operand is repeated often enough along axes of known extent."""
    if not isinstance(operand.ty, relax.TensorType) or operand.ty.shape is None:
        return False
    own, whole = shape_of(operand), shape_of(result)
    growth = 1
    for extent, full in zip((ONE,) * (len(whole) - len(own)) + own, whole, strict=True):
        if constant_value(extent) == 1:
            growth *= constant_value(full) or 1
    return growth >= _LEAST_GROWTH


def _axes_before(before: tuple, after: tuple, axes: list[int]) -> list[int] | None:
    """Return the permutation of `before` that does what `axes` do after a reshape to `after`.

    None where the reshape splits an axis or joins some across others.
    """
    groups = axis_groups(before, after)
    if groups is None or any(len(new) > 1 for _, new in groups):
        return None
    below = {new[0]: old for old, new in groups if new}
    dropped = [i for old, new in groups if not new for i in old]
    return [*dropped, *(i for axis in axes for i in below[axis])]
