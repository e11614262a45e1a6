"""What lies between convolutions, applied to values whose channels are last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import tvm
from tvm import relax

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import (
    Layouts,
    Moved,
    Permute,
    Reshape,
    keeps_rows,
    same_shape,
    same_steps,
    shape_of,
)
from sam_tvm.kernels.graph.operators import (
    BINARY,
    MATMUL,
    NORM,
    PERMUTE,
    REDUCTIONS,
    RESHAPES,
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    UNARY,
    operator_name,
    permutation,
)

_MAX_POOL, _AVERAGE_POOL = "relax.nn.max_pool2d", "relax.nn.avg_pool2d"
_RESIZE = "relax.image.resize2d"
_ALL = UNARY | BINARY | REDUCTIONS | RESHAPES | {PERMUTE, _MAX_POOL, _AVERAGE_POOL, _RESIZE}


def leading_to_convolutions(
    bindings: Sequence[tuple[relax.Var, relax.Expr]], is_rewritten: Callable[[relax.Expr], bool]
) -> set[relax.Var]:
    """Return the variables that a convolution reads, at once or through what is handled here."""
    found: set[relax.Var] = set()
    for var, value in reversed(bindings):
        if is_rewritten(value):
            found.add(value.args[0])
        elif var in found and operator_name(value) in _ALL:
            found.update(arg for arg in value.args if isinstance(arg, relax.Var))
        elif var in found and operator_name(value) in (NORM, MATMUL):
            found.add(value.args[0])
    return found


class Propagation:
    """Applies operators to what moved values are made of, and keeps the movement for later.

    Args:
        layouts: emits movements.
        moved: the values that are not laid out, by the variables of the function being rewritten.
        look_up: returns what stands for an expression of that function, laid out.
        wanted: what a convolution is going to read.
        parameters: what depends on parameters alone.

    """

    def __init__(
        self,
        layouts: Layouts,
        moved: dict[relax.Var, Moved],
        look_up: Callable[[relax.Expr], relax.Expr],
        wanted: set[relax.Var],
        parameters: set[relax.Var],
    ) -> None:
        self._layouts, self._moved, self._look_up = layouts, moved, look_up
        self._wanted, self._parameters = wanted, parameters

    def rewrite(self, var: relax.Var, call: relax.Call) -> Moved | None:
        """Return the result of a call as a moved value, None if the call stays as it is."""
        name = operator_name(call)
        if name in BINARY:
            return self._binary(var, call)
        if name in UNARY:
            return self._unary(call)
        if name in REDUCTIONS:
            return self._reduction(call)
        if name == PERMUTE or name in RESHAPES:
            return self._movement(var, call)
        if name in (_MAX_POOL, _AVERAGE_POOL, _RESIZE):
            return self._spatial(var, call, name)
        if name == NORM or (name == MATMUL and var in self._wanted):
            return self._row_by_row(call)
        return None

    def _emit(self, value: relax.Expr) -> relax.Expr:
        return self._layouts.builder.emit(value)

    def _unary(self, call: relax.Call) -> Moved | None:
        x, *others = call.args
        moved = self._moved.get(x)
        if moved is None:
            return None
        others = [self._look_up(other) for other in others]
        return moved.with_base(self._emit(relax.Call(call.op, [moved.base, *others], call.attrs)))

    def _movement(self, var: relax.Var, call: relax.Call) -> Moved | None:
        x = call.args[0]
        moved = self._moved.get(x)
        if moved is None:
            if var not in self._wanted:
                return None
            moved = Moved(self._look_up(x))
        if operator_name(call) != PERMUTE:
            return moved.reshaped(tuple(call.ty.shape))
        return moved.permuted(permutation(call))

    def _binary(self, var: relax.Var, call: relax.Call) -> Moved | None:
        both = [self._moved.get(argument) for argument in call.args]
        shape = tuple(call.ty.shape)
        if None not in both:
            a, b = both
            if same_steps(a.steps, b.steps) and same_shape(shape_of(a.base), shape_of(b.base)):
                return a.with_base(self._emit(relax.Call(call.op, [a.base, b.base])))
            a, b = (self._without_first_reshape(value) for value in both)
            whole = any(same_shape(value.shape, shape) for value in (a, b))
            if whole and same_steps(a.steps, b.steps) and len(a.shape) == len(b.shape):
                longer = a if same_shape(a.shape, shape) else b
                return longer.with_base(self._emit(relax.Call(call.op, [a.base, b.base])))
        for position, moved in enumerate(both):
            if moved is None or not same_shape(moved.shape, shape):
                continue
            other = call.args[1 - position]
            if not self._can_pull(var, other):
                continue
            pulled = self._layouts.pull(self._look_up(other), moved.steps, len(shape))
            operands = (moved.base, pulled) if position == 0 else (pulled, moved.base)
            return moved.with_base(self._emit(relax.Call(call.op, list(operands))))
        return None

    def _can_pull(self, var: relax.Var, other: relax.Expr) -> bool:
        """Whether moving the other operand the other way costs nothing, or saves the result's."""
        free = not isinstance(other, relax.Var) or other in self._parameters
        return free or var in self._wanted

    def _without_first_reshape(self, moved: Moved) -> Moved:
        if not moved.steps or not isinstance(moved.steps[0], Reshape):
            return moved
        first, *others = moved.steps
        return Moved(self._layouts.lay_out(Moved(moved.base, (first,))), tuple(others))

    def _row_by_row(self, call: relax.Call) -> Moved | None:
        """Normalise rows, or multiply them by a weight, in the order in which they lie."""
        x, *others = call.args
        moved = self._moved.get(x)
        if moved is None or not keeps_rows(moved.steps):
            return None
        operands = [moved.base, *(self._look_up(other) for other in others)]
        if operator_name(call) == NORM:
            attrs, rank = call.attrs, len(x.ty.shape)
            if [int(axis) % rank for axis in attrs.axes] != [rank - 1]:
                return None
            last = [len(shape_of(moved.base)) - 1]
            result = relax.op.nn.layer_norm(
                *operands, last, attrs.epsilon, attrs.center, attrs.scale
            )
        elif others[0] in self._parameters and others[0].ty.ndim == 2:
            result = relax.op.matmul(*operands)
        else:
            return None
        return moved.with_rows(self._emit(result))

    def _reduction(self, call: relax.Call) -> Moved | None:
        moved = self._moved.get(call.args[0])
        if moved is None or not call.attrs.keepdims or not call.attrs.axis:
            return None
        moved = self._without_first_reshape(moved)
        if len(moved.steps) != 1 or not isinstance(moved.steps[0], Permute):
            return None
        order = moved.steps[0].axes
        axes = sorted(order[int(axis)] for axis in call.attrs.axis)
        counts = [constant_value(shape_of(moved.base)[axis]) for axis in axes]
        name = call.op.name.removeprefix("relax.")
        if name == "mean" and None not in counts:
            # What is summed joins a sum; it does not join TVM's mean, which divides afterwards.
            total = self._emit(relax.op.sum(moved.base, axes, keepdims=True))
            count = relax.const(math.prod(counts), str(call.ty.dtype))
            return moved.with_base(self._emit(relax.op.divide(total, count)))
        reduced = getattr(relax.op, name)(moved.base, axes, keepdims=True)
        return moved.with_base(self._emit(reduced))

    def _spatial(self, var: relax.Var, call: relax.Call, name: str) -> Moved | None:
        moved = self._moved.get(call.args[0])
        attrs = call.attrs
        if moved is None or attrs.layout != "NCHW":
            return None
        last = moved.permuted(TO_CHANNELS_LAST)
        if last.steps and var not in self._wanted:
            return None
        picture = self._layouts.lay_out(last)
        if name == _RESIZE:
            result = _resize(picture, self._look_up(call.args[1]), attrs)
        else:
            pool = relax.op.nn.max_pool2d if name == _MAX_POOL else relax.op.nn.avg_pool2d
            result = pool(
                picture,
                list(attrs.pool_size),
                list(attrs.strides),
                list(attrs.padding),
                list(attrs.dilation),
                attrs.ceil_mode,
                attrs.count_include_pad,
                "NHWC",
            )
        return Moved(self._emit(result)).permuted(TO_CHANNELS_FIRST)


def _resize(picture: relax.Expr, size: relax.Expr, attrs: tvm.ir.Attrs) -> relax.Expr:
    return relax.op.image.resize2d(
        picture,
        size,
        list(attrs.roi),
        "NHWC",
        attrs.method,
        attrs.coordinate_transformation_mode,
        attrs.rounding_method,
        attrs.cubic_alpha,
        attrs.cubic_exclude,
        attrs.extrapolation_value,
        attrs.out_dtype,
    )
