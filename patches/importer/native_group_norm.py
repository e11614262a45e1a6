"""`native_group_norm`: normalisation over groups of channels and all positions.

TVM computes the variance as E[x^2] - E[x]^2 in one pass, which cancels when the mean is large
against the deviation. Here the mean is subtracted first, and sums run over one axis at a time:
TVM adds sequentially, and short partial sums keep the rounding error small.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch


def native_group_norm(node: fx.Node, importer: Any) -> relax.Expr:
    """Return a tuple whose first item is the normalised `input` (N, C, *spatial).

    The mean and the reciprocal deviation, the operator's other results, are for training and left
    out.
    """
    args = arguments(node, importer)
    emit = importer.block_builder.emit
    x, groups = args["input"], args["group"]
    shape = list(x.ty.shape)
    batch, channels, spatial = shape[0], int(shape[1]), shape[2:]

    def constant(value: float) -> relax.Expr:
        return relax.const(value, x.ty.dtype)

    def mean(values: relax.Expr) -> relax.Expr:
        for axis in range(len(spatial) + 2, 1, -1):
            values = emit(relax.op.mean(values, axis, keepdims=True))
        return values

    def per_channel(weight: relax.Expr) -> relax.Expr:
        return emit(relax.op.reshape(weight, [1, channels] + [1] * len(spatial)))

    grouped = emit(relax.op.reshape(x, [batch, groups, channels // groups, *spatial]))
    centred = emit(relax.op.subtract(grouped, mean(grouped)))
    variance = mean(emit(relax.op.multiply(centred, centred)))
    deviation = emit(relax.op.sqrt(emit(relax.op.add(variance, constant(args["eps"])))))
    y = emit(relax.op.reshape(emit(relax.op.divide(centred, deviation)), shape))
    if args["weight"] is not None:
        y = emit(relax.op.multiply(y, per_channel(args["weight"])))
    if args["bias"] is not None:
        y = emit(relax.op.add(y, per_channel(args["bias"])))
    return relax.Tuple([y])


PATCH = Patch(
    name="native_group_norm",
    symptom="silent: an error of 0.01 at a mean of 30 and a deviation of 1, of 2 at a mean of 300",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream="https://github.com/apache/tvm/issues/19592",
    apply={"native_group_norm.default": native_group_norm},
)
