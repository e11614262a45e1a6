"""`repeat.default` by a symbolic number, which TVM's `tile` does not take."""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch


def repeat(node: fx.Node, importer: Any) -> relax.Expr:
    """Insert an axis per repetition, broadcast along it and merge it with its neighbour."""
    args = arguments(node, importer)
    x, repeats = args["self"], list(args["repeats"])
    emit = importer.block_builder.emit
    if all(isinstance(count, int) for count in repeats):
        return emit(relax.op.tile(x, repeats))
    shape = [1] * (len(repeats) - len(x.ty.shape)) + list(x.ty.shape)
    pairs = list(zip(repeats, shape, strict=True))
    split = emit(relax.op.reshape(x, [side for _, size in pairs for side in (1, size)]))
    copies = emit(relax.op.broadcast_to(split, [side for pair in pairs for side in pair]))
    return emit(relax.op.reshape(copies, [count * size for count, size in pairs]))


PATCH = Patch(
    name="repeat",
    symptom="Mismatched type on argument #1 when calling: `relax.op.tile",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"repeat.default": repeat},
)
