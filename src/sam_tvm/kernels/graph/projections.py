"""Products with a weight and a bias, found from what reads them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from tvm import relax

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import shape_of
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.parameters import is_product_with
from sam_tvm.kernels.graph.readers import Readers


@dataclass(frozen=True)
class Projection:
    """`x w + b`.

    Attributes:
        x: float32 (..., K).
        weight: (K, C).
        bias: C numbers, axes of one element before them; None if nothing is added.

    """

    x: relax.Var
    weight: relax.Var
    bias: relax.Var | None


def projection(
    value: relax.Expr | None, readers: Readers, parameters: Container[relax.Var]
) -> Projection | None:
    """Return the projection that a value is, None if it is anything else.

    Args:
        value: what a variable is bound to.
        readers: of the function; the product alone is read by the sum with the bias alone.
        parameters: the function's variables that depend on parameters alone.

    """
    bias = None
    if operator_name(value) == "relax.add":
        biases = [a for a in value.args if a in parameters and is_bias(a, value)]
        others = [a for a in value.args if a not in parameters]
        if len(biases) != 1 or len(others) != 1:
            return None
        (bias,), value = biases, readers.value_read_once(others[0])
    if not is_product_with(value, parameters):
        return None
    return Projection(*value.args, bias)


def is_bias(value: relax.Expr, whole: relax.Expr) -> bool:
    """Tell whether a value has one number for each element of the last axis of another."""
    own, other = (shape_of(each) for each in (value, whole))
    extents = [constant_value(extent) for extent in own]
    last = constant_value(other[-1])
    return 0 < len(own) <= len(other) and extents == [1] * (len(own) - 1) + [last]
