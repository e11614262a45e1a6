"""`scaled_dot_product_attention`: softmax(scale * q k^T + mask) v, kept whole.

TVM's own converter drops `scale`, refuses boolean masks and masks that are broadcast along an axis
other than the first three, and does not know that a query without keys gives 0.
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx
from tvm import relax, tirx

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch


def scaled_dot_product_attention(node: fx.Node, importer: Any) -> relax.Expr:
    """Return attention as `relax.op.nn.attention`, which has the heads third, not second.

    Raises:
        NotImplementedError: for dropout, and for fewer heads of keys than of queries.

    """
    args = arguments(node, importer)
    emit = importer.block_builder.emit
    if args["dropout_p"]:
        raise NotImplementedError("scaled_dot_product_attention: dropout is for training")
    if args["enable_gqa"]:
        raise NotImplementedError(
            "scaled_dot_product_attention: enable_gqa is not supported; repeat the heads of keys "
            "and values instead"
        )
    rank = len(args["query"].ty.shape)

    def heads_third(x: relax.Expr) -> relax.Expr:
        return emit(relax.op.permute_dims(_expand(emit, x), [0, 2, 1, 3]))

    query, key, value = (heads_third(args[name]) for name in ("query", "key", "value"))
    scale = args["scale"]
    if scale is None:
        scale = 1 / math.sqrt(int(query.ty.shape[3]))
    bias = None
    if args["attn_mask"] is not None:
        bias = _bias(emit, args["attn_mask"], key)
    causal = "TopLeft" if args["is_causal"] else None
    result = emit(relax.op.nn.attention(query, key, value, bias, float(scale), causal))
    result = emit(relax.op.permute_dims(result, [0, 2, 1, 3]))
    return emit(relax.op.squeeze(result, list(range(4 - rank)))) if rank < 4 else result


def _expand(emit: Any, x: relax.Expr) -> relax.Expr:
    """Add axes of length 1 in front, up to four."""
    missing = 4 - len(x.ty.shape)
    if missing < 0:
        raise NotImplementedError("scaled_dot_product_attention: more than four axes")
    return emit(relax.op.expand_dims(x, list(range(missing)))) if missing else x


def _bias(emit: Any, mask: relax.Expr, key: relax.Expr) -> relax.Expr:
    """Return what is added to the scores: 0 and -infinity for a mask of booleans."""
    dtype = key.ty.dtype
    if mask.ty.dtype == "bool":
        numbers = (relax.const(number, dtype) for number in (0.0, -math.inf))
        mask = emit(relax.op.where(mask, *numbers))
    mask = _expand(emit, mask)
    *outer, last = mask.ty.shape
    # TVM broadcasts every axis of the mask but the last.
    if isinstance(last, tirx.IntImm) and int(last) == 1:
        mask = emit(relax.op.broadcast_to(mask, [*outer, key.ty.shape[1]]))
    return mask


PATCH = Patch(
    name="scaled_dot_product_attention",
    symptom="Only a float mask is supported for the attn_mask input.",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"scaled_dot_product_attention.default": scaled_dot_product_attention},
)
