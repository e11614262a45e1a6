"""Small tools over TIR expressions: substitution, loads, affine forms, constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Call, Expr, TensorLoad, Var

# Calls that cost far more than an addition: never computed twice for the sake of inlining.
_HEAVY_NAMES = (
    *("exp", "exp2", "exp10", "log", "log2", "log10", "log1p", "pow", "sqrt", "rsqrt"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
    *("erf", "sigmoid", "call_pure_extern", "call_extern"),
)
_GUARD = "prim.if_then_else"
HEAVY_CALLS = frozenset(f"{kind}.{name}" for kind in ("tirx", "prim") for name in _HEAVY_NAMES)


def dtype_of(expr: Expr) -> str:
    """Return the element type of a primitive expression, e.g. ``float32`` or ``int64``."""
    return str(expr.ty.dtype)


def integer(value: int, like: Expr | str) -> Expr:
    """Return an integer constant with the type of `like`."""
    return tirx.IntImm(like if isinstance(like, str) else dtype_of(like), value)


def constant_value(expr: Expr | int) -> int | None:
    """Return the value of an integer constant, None for anything else."""
    if isinstance(expr, int):
        return expr
    return int(expr.value) if isinstance(expr, tirx.IntImm) else None


def substitute(expr: Expr, mapping: Mapping[Var, Expr]) -> Expr:
    """Replace variables."""
    if not mapping:
        return expr
    return tvm_ffi.structural_map(expr, (Var, lambda var: mapping.get(var, var)))


def map_loads(expr: Expr, replace: Callable[[TensorLoad], Expr]) -> Expr:
    """Replace buffer loads, innermost first."""
    return tvm_ffi.structural_map(expr, (TensorLoad, replace))


def loads(expr: Expr) -> list[TensorLoad]:
    """Return every buffer load, one entry per occurrence."""
    found: list[TensorLoad] = []
    tvm_ffi.structural_walk(expr, (TensorLoad, found.append))
    return found


def variables(expr: Expr) -> set[Var]:
    """Return the variables that occur, buffers included."""
    found: set[Var] = set()
    tvm_ffi.structural_walk(expr, (Var, found.add))
    return found


def size(expr: Expr) -> int:
    """Return the number of nodes of the expression, seen as a tree."""
    count = 0

    def visit(_: object) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(expr, (Expr, visit))
    return count


def calls(expr: Expr) -> set[str]:
    """Return the names of the operators that are called."""
    found: set[str] = set()

    def visit(call: Call) -> None:
        found.add(getattr(call.op, "name", ""))

    tvm_ffi.structural_walk(expr, (Call, visit))
    return found


def is_heavy(expr: Expr) -> bool:
    """Tell whether evaluating the expression twice would be felt."""
    return bool(calls(expr) & HEAVY_CALLS)


def is_guarded(expr: Expr) -> bool:
    """Tell whether a part of the expression must not be evaluated unconditionally."""
    return _GUARD in calls(expr)


def is_guard(call: Call) -> bool:
    """Tell whether a call is `if_then_else`, which evaluates only one of its values."""
    return getattr(call.op, "name", "") == _GUARD


def linear_form(expr: Expr, over: list[Var]) -> tuple[list[Expr], Expr] | None:
    """Return coefficients per variable and the rest, or None if `expr` is not linear in them."""
    if not over:
        return [], expr
    form = sym.detect_linear_equation(expr, over)
    if not form:
        return None
    return list(form[:-1]), form[-1]


def product(values: list[Expr], dtype: str = "int64") -> Expr:
    """Multiply; the empty product is 1."""
    result: Expr = tirx.IntImm(dtype, 1)
    for value in values:
        result = result * value
    return result


def divide(value: Expr, by: Expr | int) -> Expr:
    """Divide sizes or positions, which are never negative.

    Truncating division: lowering floor division of symbolic values tries to prove their signs,
    in a time that grows exponentially with nested bindings.
    """
    return tirx.truncdiv(value, integer(by, value) if isinstance(by, int) else by)


def remainder(value: Expr, by: Expr | int) -> Expr:
    """Return what `divide` leaves."""
    return tirx.truncmod(value, integer(by, value) if isinstance(by, int) else by)


def divide_up(value: Expr, by: Expr | int) -> Expr:
    """Divide sizes, rounding up."""
    return divide(value + (by - 1), by)


def opaque(value: Expr) -> Expr:
    """Return a size that TVM's analyzer takes as it is instead of looking into how it came about.

    The unsigned maximum with 0 changes nothing, and LLVM removes it. Without it, bindings of
    bindings of quotients make LowerIntrin's analysis take many seconds per function.
    """
    return tirx.call_llvm_pure_intrin(dtype_of(value), "llvm.umax", value, integer(0, value))
