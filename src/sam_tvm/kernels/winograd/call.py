"""The operator that stands for a Winograd convolution until its kernel is placed, and its sizes."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import shape_of
from sam_tvm.kernels.winograd.problem import TAPS, Sizes, pays

# The operators by the axes of their weights, with the layouts that nothing else here writes.
_OPERATORS = {
    2: (relax.op.nn.conv2d, "NHWC", "OIHW"),
    3: (relax.op.nn.conv3d, "NDHWC", "OIDHW"),
}
_LAYOUTS = {
    f"relax.nn.conv{axes}d": (picture, kernel) for axes, (_, picture, kernel) in _OPERATORS.items()
}


def convolve(
    x: relax.Expr, weight: relax.Expr, before: Sequence[int], after: Sequence[int], pairs: bool
) -> relax.Expr | None:
    """Return a channels-last convolution with strides of 1, None where it would not pay.

    Args:
        x: float32 (B, H, W, C) or (B, D, H, W, C); B may be symbolic.
        weight: float32 (O, C, rows, columns) or (O, C, slices, rows, columns).
        before: the padding of each axis at its begin.
        after: at its end.
        pairs: whether `place` makes a kernel of bfloat16.
    """
    sizes = _sizes(x, weight, before, after, pairs)
    if sizes is None or not pays(sizes):
        return None
    operator, picture, kernel = _OPERATORS[len(before)]
    padding = [*before, *after]
    return operator(x, weight, padding=padding, data_layout=picture, kernel_layout=kernel)


def is_winograd(value: relax.Expr) -> bool:
    """Tell whether a value is what `convolve` returns."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return False
    layouts = _LAYOUTS.get(value.op.name)
    return layouts is not None and layouts == (value.attrs.data_layout, value.attrs.kernel_layout)


def sizes_of(call: relax.Call, pairs: bool) -> Sizes:
    """The sizes of such a convolution, without a bias."""
    padding = [int(extent) for extent in call.attrs.padding]
    axes = len(padding) // 2
    return _sizes(*call.args, padding[:axes], padding[axes:], pairs)


def _sizes(
    x: relax.Expr, weight: relax.Expr, before: Sequence[int], after: Sequence[int], pairs: bool
) -> Sizes | None:
    size = tuple(constant_value(extent) for extent in shape_of(x)[1:-1])
    outputs, channels, *kernel = (int(extent) for extent in shape_of(weight))
    if None in size or kernel[-2:] != [TAPS, TAPS]:
        return None
    flat = 3 - len(size)  # axes of slices that a picture lacks
    return Sizes(
        volume=not flat,
        pictures=constant_value(shape_of(x)[0]) or 1,
        size=(1,) * flat + size,
        before=(0,) * flat + tuple(before),
        after=(0,) * flat + tuple(after),
        slices=1 if flat else kernel[0],
        channels=channels,
        outputs=outputs,
        has_bias=False,
        pairs=pairs,
    )
