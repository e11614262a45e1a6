"""Positions that resizing computes in floating point, as integer arithmetic where that is equal.

`round((x + 0.5) * 0.5 - 0.5)` hides that neighbours read the same element; `x // 2` shows it. Both
are compared at every point of the axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    dtype_of,
    integer,
    loads,
    map_loads,
    variables,
)
from sam_tvm.kernels.layout import FlatStage

_LONGEST = 1 << 14  # points that are looked at
_LARGEST_DIVISOR = 16
_NEAR = 1e-3  # of a tie or a whole number: other roundings on the way might end elsewhere


def whole_positions(stage: FlatStage) -> FlatStage:
    """Return the stage with indices in integers where they go through floating point."""
    extents = {axis.var: constant_value(axis.extent) for axis in stage.spatial + stage.reduced}

    def cast(expr: Expr) -> Expr:
        if not dtype_of(expr).startswith("int") or not dtype_of(expr.value).startswith("float"):
            return expr
        used = variables(expr)
        if len(used) != 1 or loads(expr):
            return expr
        (axis,) = used
        extent = extents.get(axis)
        if extent is None or extent > _LONGEST:
            return expr
        values = _evaluate(expr.value, axis, np.arange(extent))
        found = None if values is None else _quotient(values, axis)
        return expr if found is None or dtype_of(found) != dtype_of(expr) else found

    def load(expr: tirx.BufferLoad) -> Expr:
        indices = [tvm_ffi.structural_map(i, (tirx.Cast, cast)) for i in expr.indices]
        return tirx.BufferLoad(expr.source, indices)

    return stage.rewrite(lambda expr: map_loads(expr, load))


def _quotient(values: np.ndarray, axis: Var) -> Expr | None:
    """Return `axis * p // q` if that is what all values are."""
    points = np.arange(len(values))
    whole = np.round(values).astype("int64")
    if len(values) < 2 or whole[0] != 0 or (whole != values).any():
        return None
    for q in range(1, _LARGEST_DIVISOR + 1):
        # Rounding down keeps the last point within one step of its line.
        first = int(whole[-1]) * q // int(points[-1])
        for p in (first, first + 1):
            if p > 0 and math.gcd(p, q) == 1 and (points * p // q == whole).all():
                scaled = axis if p == 1 else axis * integer(p, axis)
                return scaled if q == 1 else tirx.floordiv(scaled, integer(q, axis))
    return None


_OPERATORS: dict[type, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    tirx.Add: np.add,
    tirx.Sub: np.subtract,
    tirx.Mul: np.multiply,
    tirx.Div: np.divide,
    tirx.Min: np.minimum,
    tirx.Max: np.maximum,
}
_ROUNDINGS = {"round": np.round, "nearbyint": np.round, "floor": np.floor, "ceil": np.ceil}


def _evaluate(expr: Expr, axis: Var, points: np.ndarray) -> np.ndarray | None:
    """Return the values of a float32 expression; None if it is unknown or near a step."""
    if isinstance(expr, Var):
        return points if expr.same_as(axis) else None
    if isinstance(expr, tirx.FloatImm | tirx.IntImm):
        return np.full(len(points), expr.value, dtype_of(expr))
    if isinstance(expr, tirx.Cast):
        value = _evaluate(expr.value, axis, points)
        to_float = dtype_of(expr) == "float32"
        return value.astype("float32") if value is not None and to_float else None
    if type(expr) in _OPERATORS:
        a, b = _evaluate(expr.a, axis, points), _evaluate(expr.b, axis, points)
        return None if a is None or b is None else _OPERATORS[type(expr)](a, b)
    if isinstance(expr, Call):
        rounding = _ROUNDINGS.get(getattr(expr.op, "name", "").rpartition(".")[2])
        value = _evaluate(expr.args[0], axis, points) if rounding else None
        if value is None:
            return None
        step = 0.5 if rounding is np.round else 0.0
        distance = np.abs((value - step + 0.5) % 1.0 - 0.5)
        exact = rounding is not np.round and (value == np.round(value)).all()
        return rounding(value) if exact or (distance > _NEAR).all() else None
    return None
