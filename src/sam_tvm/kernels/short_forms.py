"""Shorter polynomials for erf and GELU, where the result is rounded to bfloat16 at once.

A value is marked while a contraction is described (`shortened`), and written out when its loops are
(`fastmath.expand_calls`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, StringImm

from sam_tvm.kernels.polynomials import Names, number, polynomial

Form = Callable[[Names, Expr], Expr]

# erf(x) = x * p(x**2) for |x| < _ERF_END, to 4e-5
_ERF_TERMS = (
    1.1282685595168676,
    -0.37531544146162227,
    0.11108000318458829,
    -0.025103220726463794,
    0.004235529245666759,
    -0.0005110529176680865,
    4.106192094097057e-05,
    -1.944883921603442e-06,
    4.074310620748494e-08,
)
_ERF_END = 3.0
# x * (0.5 + erf(x / sqrt(2)) / 2) = x * (0.5 + x * q(x**2)): the factors are in the coefficients
_GELU_TERMS = tuple(a * 0.5 ** (k + 1.5) for k, a in enumerate(_ERF_TERMS))
_GELU_END = _ERF_END * math.sqrt(2)

_PREFIX = "sam_tvm.short."  # before the name of a function


def shortened(value: Expr) -> Expr:
    """Return a value that will be rounded to bfloat16, by shorter polynomials if it has any."""

    def mark_gelu(product: tirx.Mul) -> Expr:
        x = _gelu_argument(product)
        return product if x is None else _marked("gelu", x)

    def mark_erf(call: Call) -> Expr:
        return _marked("erf", *call.args) if _is_erf(call) else call

    value = tvm_ffi.structural_map(value, (tirx.Mul, mark_gelu))
    return tvm_ffi.structural_map(value, (Call, mark_erf))


def short_form(call: Call) -> tuple[Form, Expr] | None:
    """Return how a marked call is written out, and its argument; None for any other."""
    if getattr(call.op, "name", "") != "tirx.call_pure_extern":
        return None
    name, *arguments = call.args
    if not isinstance(name, StringImm) or not name.value.startswith(_PREFIX):
        return None
    return _FORMS[name.value.removeprefix(_PREFIX)], arguments[0]


def _marked(name: str, x: Expr) -> Expr:
    return tirx.call_pure_extern("float32", _PREFIX + name, x)


def _is_erf(value: Expr) -> bool:
    return isinstance(value, Call) and getattr(value.op, "name", "") == "tirx.erf"


def _gelu_argument(product: tirx.Mul) -> Expr | None:
    """Return x if a product is x * (0.5 + erf(x * sqrt(0.5)) * 0.5), as Relax writes GELU."""
    x, weight = product.a, product.b
    if not isinstance(weight, tirx.Add) or not _equals(weight.a, 0.5):
        return None
    half = weight.b
    if not isinstance(half, tirx.Mul) or not _equals(half.b, 0.5) or not _is_erf(half.a):
        return None
    inner = half.a.args[0]
    is_scaled = isinstance(inner, tirx.Mul) and _equals(inner.b, math.sqrt(0.5))
    return x if is_scaled and tvm_ffi.structural_equal(inner.a, x) else None


def _equals(value: Expr, constant: float) -> bool:
    return isinstance(value, tirx.FloatImm) and math.isclose(value.value, constant, rel_tol=1e-6)


def _capped(names: Names, x: Expr, end: float) -> Expr:
    """Return x between -end and end. NaN, of which comparisons are false, passes."""
    at_most = names.name("at_most", tirx.Select(x > number(end), number(end), x))
    return names.name("capped", tirx.Select(at_most < number(-end), number(-end), at_most))


def _erf(names: Names, argument: Expr) -> Expr:
    capped = _capped(names, names.name("x", argument), _ERF_END)
    square = names.name("square", capped * capped)
    return names.name("erf", capped * polynomial(_ERF_TERMS, square))


def _gelu(names: Names, argument: Expr) -> Expr:
    x = names.name("x", argument)
    capped = _capped(names, x, _GELU_END)
    square = names.name("square", capped * capped)
    return names.name("gelu", x * (capped * polynomial(_GELU_TERMS, square) + number(0.5)))


_FORMS: dict[str, Form] = {"erf": _erf, "gelu": _gelu}
