"""The arithmetic of a rotary embedding (Su et al. 2021), as Relax operators say it.

Neighbouring channels are a complex number each, which is multiplied by cos + i sin:
concat(expand_dims(a cos - b sin), expand_dims(a sin + b cos)) on a new last axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm import relax

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import same_shape, shape_of
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.views import Bindings

_CONCAT, _EXPAND = "relax.concat", "relax.expand_dims"
_ADD, _SUBTRACT, _MULTIPLY = "relax.add", "relax.subtract", "relax.multiply"


@dataclass(frozen=True)
class Rotation:
    """One rotary embedding.

    Attributes:
        result: the pairs, turned, (..., L, D / 2, 2).
        real, imaginary: what is turned, (..., L, D / 2).
        cosines, sines: (L, D / 2).
        inner: the variables between these and the result.

    """

    result: relax.Var
    real: relax.Var
    imaginary: relax.Var
    cosines: relax.Var
    sines: relax.Var
    inner: frozenset[relax.Var]


def find_rotation(result: relax.Var, values: Bindings) -> Rotation | None:
    """Return the rotary embedding whose pairs a variable holds, None if it holds anything else."""
    call = values[result]
    if operator_name(call) != _CONCAT or call.attrs.axis is None:
        return None
    rank = len(shape_of(call))
    parts = call.args[0]
    named = [parts] if isinstance(parts, relax.Var) else []
    parts = values.get(parts, parts) if named else parts
    is_last = int(call.attrs.axis) % rank == rank - 1
    if not is_last or not isinstance(parts, relax.Tuple) or len(parts.fields) != 2:
        return None
    named += list(parts.fields)
    both = [_without_last_axis(part, values) for part in parts.fields]
    if None in both:
        return None
    factors = [
        _products(both[0], _SUBTRACT, values),
        _products(both[1], _ADD, values),
    ]
    if None in factors:
        return None
    named += both
    (first, second), (third, fourth) = (found for _, found in factors)
    named += [var for products, _ in factors for var in products]
    shape = shape_of(both[0])
    for real, cosines in _orders(first):
        for imaginary, sines in _orders(second):
            wanted = ({real, sines}, {imaginary, cosines})
            crosswise = (set(third), set(fourth)) in (wanted, wanted[::-1])
            turned = (same_shape(shape_of(var), shape) for var in (real, imaginary))
            if crosswise and all(turned) and _is_table(cosines) and _is_table(sines):
                inner = frozenset(named)
                return Rotation(result, real, imaginary, cosines, sines, inner)
    return None


def _without_last_axis(part: relax.Expr, values: Bindings) -> relax.Var | None:
    """Return what gained a last axis of length 1."""
    call = values.get(part) if isinstance(part, relax.Var) else None
    if operator_name(call) != _EXPAND:
        return None
    rank = len(shape_of(call))
    axes = [int(axis) % rank for axis in call.attrs.axis]
    return call.args[0] if axes == [rank - 1] else None


def _products(
    var: relax.Var, operator: str, values: Bindings
) -> tuple[list[relax.Var], list[tuple[relax.Var, relax.Var]]] | None:
    """Return both products that a sum or a difference is of, and the factors of each."""
    call = values.get(var)
    if operator_name(call) != operator:
        return None
    factors = []
    for argument in call.args:
        product = values.get(argument) if isinstance(argument, relax.Var) else None
        if operator_name(product) != _MULTIPLY:
            return None
        if not all(isinstance(factor, relax.Var) for factor in product.args):
            return None
        factors.append(tuple(product.args))
    return list(call.args), factors


def _orders(pair: tuple[relax.Var, relax.Var]) -> Iterator[tuple[relax.Var, relax.Var]]:
    yield pair
    yield pair[::-1]


def _is_table(var: relax.Var) -> bool:
    """Tell whether there is a number for each position and pair, and nothing else."""
    shape = shape_of(var)
    return len(shape) == 2 and all(constant_value(extent) is not None for extent in shape)
