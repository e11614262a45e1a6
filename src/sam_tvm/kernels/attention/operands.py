"""From Relax's attention operator to the kernel's problem: where its operands lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import relax, sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.attention.problem import Attention
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.sizes import OwnSizes
from sam_tvm.kernels.graph.views import (
    Bindings,
    View,
    has_shape,
    has_vectors,
    shape_of,
    trace,
)
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.vectors import index

OPERATORS = ("relax.nn.attention", "relax.nn.attention_bias")


@dataclass(frozen=True)
class Site:
    """A call of attention, ready to be replaced.

    Attributes:
        attention: the problem, in variables of its own.
        shapes: of the tensors that the kernel reads, and of the one that it writes.
        sizes: the problem's variables.
        tensors: the tensors that the kernel reads; float32, or uint16 that hold bfloat16.
        values: what the variables stand for at the call.
        written: float32, or uint16 for a result that is rounded to bfloat16.

    """

    attention: Attention
    shapes: list[tuple[Expr, ...]]
    sizes: list[Var]
    tensors: list[relax.Expr]
    values: list[Var]
    written: str = "float32"

    @property
    def key(self) -> str:
        """What is equal for calls that one kernel serves."""
        return f"{self.attention} {self.shapes} {self.dtypes}"

    @property
    def dtypes(self) -> list[str]:
        """Types of what the kernel reads, and of what it writes."""
        return [*(str(tensor.ty.dtype) for tensor in self.tensors), self.written]


def is_supported(call: relax.Expr | None) -> bool:
    """Tell whether it is attention that a kernel can be made for.

    That is of float32, of known channels and without a sliding window.
    """
    if operator_name(call) not in OPERATORS:
        return False
    tensors = call.args
    if call.attrs.window_size is not None or not all(has_shape(tensor) for tensor in tensors):
        return False
    if any(str(tensor.ty.dtype) != "float32" or tensor.ty.ndim != 4 for tensor in tensors):
        return False
    return all(constant_value(tensor.ty.shape[3]) is not None for tensor in tensors[:3])


def describe(call: relax.Call, result: View, bindings: Bindings, analyzer: sym.Analyzer) -> Site:
    """Return what a kernel has to do in place of a call.

    Args:
        call: one that `is_supported`.
        result: where the kernel writes, as a view in the shape of the call's value.
        bindings: the value of each variable, to look through what moves operands about.
        analyzer: compares sizes.

    """
    batch, queries, heads, depth = shape_of(call.args[0])
    _, keys, _, value_depth = shape_of(call.args[2])
    tensors: list[relax.Expr] = []

    def operand(view: View) -> Operand:
        known = [i for i, tensor in enumerate(tensors) if tensor.same_as(view.base)]
        if not known:
            tensors.append(view.base)
        position = known[0] if known else len(tensors) - 1
        return Operand(position, view.offset, view.axes).map(analyzer.simplify)

    # Relax counts (batch, position, head, channel), the kernel (batch, head, position, channel).
    kernel_axes = (0, 2, 1, 3)
    query, key, value = (
        operand(_nearest(tensor, bindings, analyzer).permuted(kernel_axes))
        for tensor in call.args[:3]
    )
    bias = None
    if len(call.args) == 4:
        view = _nearest(call.args[3], bindings, analyzer)
        bias = operand(view.broadcast((batch, heads, queries, keys)))
    inputs = list(tensors)
    attention = Attention(
        batch=batch,
        heads=heads,
        queries=queries,
        keys=keys,
        depth=int(depth),
        value_depth=int(value_depth),
        query=query,
        key=key,
        value=value,
        output=operand(result.permuted(kernel_axes)),
        bias=bias,
        scale=scale_of(call),
        causal=_causal(call, queries, keys),
    )
    return _renamed(attention, [shape_of(tensor) for tensor in tensors], inputs)


def _nearest(tensor: relax.Expr, bindings: Bindings, analyzer: sym.Analyzer) -> View:
    """Return the view that goes furthest back and still has its last axis side by side."""
    return [view for view in trace(tensor, bindings, analyzer) if has_vectors(view)][-1]


def scale_of(call: relax.Call) -> float:
    """Return what attention multiplies its scores with."""
    scale, depth = call.attrs.scale, int(shape_of(call.args[0])[-1])
    return 1 / math.sqrt(depth) if scale is None else float(scale.value)


def _causal(call: relax.Call, queries: Expr, keys: Expr) -> Expr | None:
    """Return how many keys beyond its own position a query may see."""
    mask = call.attrs.causal_mask
    if mask is None:
        return None
    if mask == "TopLeft":
        return index(0)
    return tirx.max(queries - keys, keys - queries)  # "BottomRight", as Relax defines it


def _renamed(
    attention: Attention, shapes: list[tuple[Expr, ...]], tensors: list[relax.Expr]
) -> Site:
    """Return the site with variables n0, n1, ... in place of the function's."""
    own = OwnSizes()
    renamed = attention.map(own)
    shapes = [tuple(own(size) for size in shape) for shape in shapes]
    return Site(renamed, shapes, own.variables, tensors, own.values)
