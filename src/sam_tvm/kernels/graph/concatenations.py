"""Concatenations before reshapes: what was just computed is computed into its place.

`concat(x, reshape(a + b))` is the same as `reshape(concat(x', a + b))` where the axis is one that
the reshape keeps. A reshape of symbolic extents is a view that nothing is fused across; behind it
the sum would be written once by itself and once again into the concatenation.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import Expr
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.graph.movement import axis_groups, shape_of
from sam_tvm.kernels.graph.operators import BINARY, RESHAPES, operator_name
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

_CONCAT = "relax.concat"
_FULL = ("relax.full", "relax.full_like")


def concatenate_before_reshape() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmConcatenateBeforeReshape", _Rewriter)


@mutator
class _Rewriter(Rewriter):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it concatenates what was computed and reshaped."""
        call = super().visit_call_(call)
        if operator_name(call) != _CONCAT or call.attrs.axis is None:
            return call
        parts = self.value(call.args[0])
        if not isinstance(parts, relax.Tuple):
            return call
        axis = int(call.attrs.axis) % len(shape_of(call))
        for part in parts:
            computed = self._computed(part)
            if computed is None:
                continue
            below = _axis_before(shape_of(computed), shape_of(part), axis)
            if below is not None:
                self.changed = True
                return self._concatenated(list(parts), axis, computed, below, call)
        return call

    def _computed(self, part: relax.Expr) -> relax.Expr | None:
        """Return the result of a binary operator that `part` is a reshape of, or None."""
        source, value = part, self.value(part)
        while operator_name(value) in RESHAPES:
            source = value.args[0]
            value = self.value(source)
        return source if source is not part and operator_name(value) in BINARY else None

    def _concatenated(
        self,
        parts: list[relax.Expr],
        axis: int,
        computed: relax.Expr,
        below: int,
        call: relax.Call,
    ) -> relax.Expr:
        """Concatenate all parts in the shape of one that was computed, along its axis `below`."""
        shape, moved = list(shape_of(computed)), []
        for part in parts:
            shape[below] = shape_of(part)[axis]
            moved.append(self._in_shape(part, shape))
        whole = self.builder_.emit(relax.op.concat(moved, below))
        return relax.op.reshape(whole, list(shape_of(call)))

    def _in_shape(self, part: relax.Expr, shape: list[Expr]) -> relax.Expr:
        computed, value = self._computed(part), self.value(part)
        if computed is not None and tvm_ffi.structural_equal(list(shape_of(computed)), shape):
            return computed
        if operator_name(value) in _FULL:
            return self.builder_.emit(relax.op.full(shape, value.args[1], str(part.ty.dtype)))
        return self.builder_.emit(relax.op.reshape(part, shape))


def _axis_before(before: tuple[Expr, ...], after: tuple[Expr, ...], axis: int) -> int | None:
    """Return which axis of `before` a reshape to `after` leaves as it is in `axis`."""
    for old, new in axis_groups(before, after) or []:
        if new == (axis,) and len(old) == 1:
            return old[0]
    return None
