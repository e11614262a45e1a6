"""Weights of int8: rounded once, multiplied in float32.

A (K, N) weight becomes int8 panels and a scale for each of its N columns, which are the layer's
outputs: column n is `scale[n]` times integers of -127 to 127, and `scale[n]` is its largest
absolute value over 127. Nothing is rounded but the weight; the scales are multiplied with the
sums, so that the kernel only converts integers.
"""

from __future__ import annotations

from tvm import relax

_LARGEST = 127.0


def quantise(builder: relax.BlockBuilder, weight: relax.Expr) -> tuple[relax.Expr, relax.Expr]:
    """Round a float32 (K, N) matrix to int8, to nearest, ties to even.

    Returns:
        int8 (K, N), and its scales: float32 (N,). A column of zeros has the scale 1.

    """
    largest = builder.emit(relax.op.max(relax.op.abs(weight), axis=[0]))
    empty = relax.op.equal(largest, relax.const(0.0, "float32"))
    scale = relax.op.divide(largest, relax.const(_LARGEST, "float32"))
    scale = builder.emit(relax.op.where(empty, relax.const(1.0, "float32"), scale))
    # The largest value over its scale may round to a little more than 127.
    steps = relax.op.clip(relax.op.round(relax.op.divide(weight, scale)), -_LARGEST, _LARGEST)
    return builder.emit(relax.op.astype(steps, "int8")), scale
