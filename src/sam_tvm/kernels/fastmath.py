"""exp, erf, tanh and sigmoid of float32 as polynomials, so that they run on vector lanes.

LLVM calls the C library once per lane for these. The rewriting happens in the expressions of the
functions that are scheduled; nothing is registered with TVM. Coefficients are minimax fits
(Remez's exchange, weighted by the relative error) made for this file; `tests/kernels` proves the
errors against float64 over the whole range, with infinities, NaN, overflow and subnormal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, Var

from sam_tvm.kernels.expressions import dtype_of

# e**r = 1 + r + r**2 * p(r) for |r| <= ln(2)/2; relative error below 0.01 ulp
_EXP = (
    0.5000000067682081,
    0.16666665868934757,
    0.04166629494735141,
    0.008333497075037577,
    0.0013944659622580626,
    0.00019790341404078392,
)
# erf(x) = x + x * p(x**2) for |x| < _ERF_SPLIT
_ERF_SMALL = (
    0.1283791665982057,
    -0.37612633361942327,
    0.11283689808953111,
    -0.026859084740438032,
    0.005200257509104276,
    -0.0008133944432430206,
    8.333194346975818e-05,
)
# erf(x) = 1 - e**p(x) for _ERF_SPLIT <= x <= 4, beyond which it rounds to 1
_ERF_LARGE = (
    0.000176676616378395,
    -1.1295244962492847,
    -0.6333275977461141,
    -0.10830131178667878,
    0.02513313547707217,
    -0.004176263455062201,
    0.000435534967625388,
    -2.118773164644001e-05,
)
_ERF_SPLIT = 0.9275
# tanh(x) = x + x**3 * p(x**2) for |x| < _TANH_SPLIT
_TANH_SMALL = (
    -0.33333283925367224,
    0.13331491288562813,
    -0.05374349818207705,
    0.020650587565118478,
    -0.005717045309404978,
)
_TANH_SPLIT = 0.625

_LOWEST, _HIGHEST = -105.0, 89.0  # e**x rounds to 0 below, to infinity above
_LOG2_E = math.log2(math.e)
_LN2_HIGH = 0.693145751953125  # 15 bits of ln(2): exact times any exponent
_LN2_LOW = 1.428606820309417e-06


def _number(value: float) -> Expr:
    return tirx.FloatImm("float32", value)


def _polynomial(coefficients: tuple[float, ...], x: Expr) -> Expr:
    result = _number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + _number(coefficient)
    return result


def _let(name: str, value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """Name a value that `body` uses several times."""
    var = Var(name, value.ty)
    return tirx.Let(var, value, body(var))


def exp(argument: Expr) -> Expr:
    """Return e**x: e**r * 2**n with n = round(x / ln 2), scaled in two steps for subnormals."""

    def finite(x: Expr, clamped: Expr) -> Expr:
        return _let(
            "n",
            tirx.nearbyint(clamped * _number(_LOG2_E)),
            lambda n: _let(
                "r",
                (clamped - n * _number(_LN2_HIGH)) - n * _number(_LN2_LOW),
                lambda r: scaled(x, r * r * _polynomial(_EXP, r) + r + _number(1.0), n),
            ),
        )

    def scaled(x: Expr, value: Expr, n: Expr) -> Expr:
        def apply(exponent: Expr) -> Expr:
            half = exponent >> tirx.IntImm("int32", 1)
            result = value * _power_of_two(half) * _power_of_two(exponent - half)
            return tirx.Select(tirx.isnan(x), x, result)

        return _let("exponent", tirx.Cast("int32", n), apply)

    # Comparisons with NaN are false: the clamped value is a number, and NaN returns at the end.
    def clamp(x: Expr) -> Expr:
        at_least = tirx.Select(x > _number(_LOWEST), x, _number(_LOWEST))
        return _let("at_least", at_least, lambda a: _let("clamped", _at_most(a), bind(x)))

    def bind(x: Expr) -> Callable[[Expr], Expr]:
        return lambda clamped: finite(x, clamped)

    return _let("x", argument, clamp)


def _at_most(x: Expr) -> Expr:
    return tirx.Select(x < _number(_HIGHEST), x, _number(_HIGHEST))


def _power_of_two(n: Expr) -> Expr:
    bits = (n + tirx.IntImm("int32", 127)) << tirx.IntImm("int32", 23)
    return tirx.reinterpret("float32", bits)


def _with_sign_of(x: Expr, magnitude: Expr) -> Expr:
    return _let("m", magnitude, lambda m: tirx.Select(x < _number(0.0), _number(0.0) - m, m))


def erf(argument: Expr) -> Expr:
    """Return the error function."""

    def value(x: Expr) -> Expr:
        magnitude = tirx.abs(x)
        small = _let("square", x * x, lambda s: x + x * _polynomial(_ERF_SMALL, s))
        capped = tirx.Select(magnitude < _number(4.0), magnitude, _number(4.0))
        tail = _let("capped", capped, lambda c: exp(_polynomial(_ERF_LARGE, c)))
        large = _with_sign_of(x, _number(1.0) - tail)
        result = tirx.Select(magnitude < _number(_ERF_SPLIT), small, large)
        return tirx.Select(tirx.isnan(x), x, result)

    return _let("x", argument, value)


def tanh(argument: Expr) -> Expr:
    """Return the hyperbolic tangent."""

    def value(x: Expr) -> Expr:
        magnitude = tirx.abs(x)
        small = _let("square", x * x, lambda s: x + x * s * _polynomial(_TANH_SMALL, s))
        quotient = _number(2.0) / (exp(magnitude + magnitude) + _number(1.0))
        large = _with_sign_of(x, _number(1.0) - quotient)
        return tirx.Select(magnitude < _number(_TANH_SPLIT), small, large)

    return _let("x", argument, value)


def sigmoid(argument: Expr) -> Expr:
    """Return 1 / (1 + e**-x)."""
    return _number(1.0) / (_number(1.0) + exp(_number(0.0) - argument))


_REWRITES = {"tirx.exp": exp, "tirx.erf": erf, "tirx.tanh": tanh, "tirx.sigmoid": sigmoid}


def expand_calls(body: tirx.Stmt) -> tirx.Stmt:
    """Replace the calls in a function's body that have a polynomial form."""

    def rewrite(call: Call) -> Expr:
        form = _REWRITES.get(getattr(call.op, "name", ""))
        if form is None or dtype_of(call) != "float32":
            return call
        return form(call.args[0])

    return tvm_ffi.structural_map(body, (Call, rewrite))
