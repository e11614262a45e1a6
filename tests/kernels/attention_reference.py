"""Attention in float64, in PyTorch, and through the kernels."""

from __future__ import annotations

import math

import numpy as np
import torch
from relax_programs import Compiled, function, host_target, normal
from torch.nn import functional as F
from tvm import relax

from sam_tvm.kernels import attention


def exact(q, k, v, bias=None, scale=None) -> np.ndarray:
    """softmax(scale * q k^T + bias) v in float64 for (B, H, S, D); 0 where no key may be seen."""
    q, k, v = (x.astype("float64") for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = np.einsum("bhsd,bhtd->bhst", q, k) * scale
    if bias is not None:
        scores = scores + bias
    highest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isneginf(highest), 0, highest))
    total = weights.sum(-1, keepdims=True)
    return np.einsum("bhst,bhtd->bhsd", weights / np.where(total == 0, 1, total), v)


def in_torch(q, k, v, bias=None, scale=None, dtype=torch.float32) -> np.ndarray:
    """PyTorch's own attention of (B, H, S, D)."""
    q, k, v = (torch.from_numpy(x).to(dtype) for x in (q, k, v))
    mask = None if bias is None else torch.from_numpy(np.ascontiguousarray(bias)).to(dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).float().numpy()


def assert_as_accurate_as_torch(result, q, k, v, bias=None, scale=None) -> None:
    """Hold the result to PyTorch's error against float64; the largest of few errors is noise."""
    referee = exact(q, k, v, bias, scale)
    own = np.abs(result - referee).max()
    of_torch = np.abs(in_torch(q, k, v, bias, scale) - referee).max()
    assert own <= max(2 * of_torch, 4e-7 * np.abs(v).max())


def operands(batch, heads, queries, keys, depth, value_depth=None, seed=0):
    """Unit normal q, k and v."""
    q = normal(batch, heads, queries, depth, seed=seed)
    k = normal(batch, heads, keys, depth, seed=seed + 1)
    return q, k, normal(batch, heads, keys, value_depth or depth, seed=seed + 2)


def program(q_shape, k_shape, v_shape, bias_shape=None, **options):
    """A module that attends over (B, H, S, D); a name in a shape is a symbolic size."""

    def attend(q, k, v, *bias):
        q, k, v = (relax.op.permute_dims(x, [0, 2, 1, 3]) for x in (q, k, v))
        return relax.op.permute_dims(relax.op.nn.attention(q, k, v, *bias, **options), [0, 2, 1, 3])

    shapes = [q_shape, k_shape, v_shape, *([] if bias_shape is None else [bias_shape])]
    return function(attend, *((tuple(shape), "float32") for shape in shapes))


def placed(module, target=None, precision="float32") -> Compiled:
    """The module with its attentions replaced, compiled."""
    target = host_target() if target is None else target
    run = Compiled(attention.place(target, precision)(module), target)
    assert "attention" in run.rules.values()
    return run


def attend(q, k, v, bias=None, target=None, precision="float32", **options) -> np.ndarray:
    """Run a kernel that is made for these very shapes."""
    arrays = [q, k, v, *([] if bias is None else [bias])]
    module = program(*(array.shape for array in arrays), **options)
    return placed(module, target, precision)(*arrays)
