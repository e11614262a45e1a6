"""Relax's operators by name."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax

_UNARY_NAMES = (
    *("nn.relu", "nn.gelu", "nn.gelu_tanh", "nn.silu", "nn.leakyrelu", "sigmoid", "tanh", "erf"),
    *("exp", "log", "sqrt", "rsqrt", "abs", "negative", "square", "clip", "astype"),
)
_BINARY_NAMES = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")
_REDUCTION_NAMES = ("mean", "sum", "max", "min", "variance")
_RESHAPE_NAMES = ("reshape", "expand_dims", "squeeze", "flatten")


def _names(names: Sequence[str]) -> frozenset[str]:
    return frozenset(f"relax.{name}" for name in names)


UNARY, BINARY = _names(_UNARY_NAMES), _names(_BINARY_NAMES)
REDUCTIONS, RESHAPES = _names(_REDUCTION_NAMES), _names(_RESHAPE_NAMES)
PERMUTE, MATMUL, CALL_TIR = "relax.permute_dims", "relax.matmul", "relax.call_tir"
NORM = "relax.nn.layer_norm"
# Orders of a picture's axes, for `permute_dims`.
TO_CHANNELS_LAST, TO_CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def operator_name(value: relax.Expr | None) -> str:
    """Return the name of the operator that a value calls, "" if it calls none."""
    if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
        return value.op.name
    return ""


def permutation(call: relax.Call) -> list[int]:
    """Return the axes of a `permute_dims`."""
    rank = len(call.args[0].ty.shape)
    axes = call.attrs.axes
    return list(range(rank))[::-1] if axes is None else [int(axis) % rank for axis in axes]


def swapped(rank: int) -> list[int]:
    """Return the order of so many axes in which the last two have changed places."""
    return [*range(rank - 2), rank - 1, rank - 2]


def is_rearrangement(value: relax.Expr | None) -> bool:
    """Tell whether an operator only permutes or reshapes its argument."""
    return operator_name(value) in RESHAPES | {PERMUTE}
