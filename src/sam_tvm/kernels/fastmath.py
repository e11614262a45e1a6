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
from tvm.ir import Call, Expr

from sam_tvm.kernels.expressions import dtype_of, is_guarded
from sam_tvm.kernels.polynomials import Names, number, polynomial
from sam_tvm.kernels.short_forms import short_form

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
_ROUNDS = 1.5 * 2**23
_LN2_LOW = 1.428606820309417e-06


def _exp(names: Names, argument: Expr) -> Expr:
    """Return e**x: e**r * 2**n with n = round(x / ln 2), scaled in two steps for subnormals."""
    x = names.name("x", argument)
    # Comparisons with NaN are false: it passes through both bounds, but not into the integer.
    at_least = names.name("at_least", tirx.Select(x < number(_LOWEST), number(_LOWEST), x))
    at_most = tirx.Select(at_least > number(_HIGHEST), number(_HIGHEST), at_least)
    clamped = names.name("clamped", at_most)
    finite = tirx.Select(clamped > number(_LOWEST), clamped, number(_LOWEST))
    scaled = names.name("scaled", finite * number(_LOG2_E))
    # Rounding by truncation: TVM has vector forms of conversions, not of `nearbyint`.
    half_up = tirx.Select(scaled < number(0.0), number(-0.5), number(0.5))
    exponent = names.name("exponent", tirx.Cast("int32", scaled + half_up))
    n = names.name("n", tirx.Cast("float32", exponent))
    r = names.name("r", (clamped - n * number(_LN2_HIGH)) - n * number(_LN2_LOW))
    value = r * r * polynomial(_EXP, r) + r + number(1.0)
    half = names.name("half", exponent >> tirx.IntImm("int32", 1))
    return names.name("power", value * _power_of_two(half) * _power_of_two(exponent - half))


def _exp_of_moderate(names: Names, argument: Expr) -> Expr:
    """Return e**x for -80 <= x <= 80, where the scaling is one addition to the exponent's bits."""
    x = names.name("x", argument)
    # In a float of this size the lowest bit of the fraction is worth 1.
    shifted = names.name("shifted", x * number(_LOG2_E) + number(_ROUNDS))
    n = names.name("n", shifted - number(_ROUNDS))
    r = names.name("r", (x - n * number(_LN2_HIGH)) - n * number(_LN2_LOW))
    value = names.name("value", r * r * polynomial(_EXP, r) + r + number(1.0))
    exponent = tirx.reinterpret("int32", shifted) << tirx.IntImm("int32", 23)
    bits = tirx.reinterpret("int32", value) + exponent
    return names.name("power", tirx.reinterpret("float32", bits))


def _power_of_two(n: Expr) -> Expr:
    bits = (n + tirx.IntImm("int32", 127)) << tirx.IntImm("int32", 23)
    return tirx.reinterpret("float32", bits)


def _with_sign_of(names: Names, x: Expr, magnitude: Expr) -> Expr:
    magnitude = names.name("magnitude", magnitude)
    return tirx.Select(x < number(0.0), number(0.0) - magnitude, magnitude)


def _erf(names: Names, argument: Expr) -> Expr:
    x = names.name("x", argument)
    size = names.name("size", tirx.abs(x))
    square = names.name("square", x * x)
    small = names.name("small", x + x * polynomial(_ERF_SMALL, square))
    capped = names.name("capped", tirx.Select(size > number(4.0), number(4.0), size))
    tail = _exp_of_moderate(names, polynomial(_ERF_LARGE, capped))
    large = _with_sign_of(names, x, number(1.0) - tail)
    # NaN is not above the split: it takes the form that keeps it.
    return names.name("erf", tirx.Select(size >= number(_ERF_SPLIT), large, small))


def _tanh(names: Names, argument: Expr) -> Expr:
    x = names.name("x", argument)
    size = names.name("size", tirx.abs(x))
    square = names.name("square", x * x)
    small = names.name("small", x + x * square * polynomial(_TANH_SMALL, square))
    quotient = number(2.0) / (_exp(names, size + size) + number(1.0))
    large = _with_sign_of(names, x, number(1.0) - quotient)
    return names.name("tanh", tirx.Select(size < number(_TANH_SPLIT), small, large))


def _sigmoid(names: Names, argument: Expr) -> Expr:
    power = _exp(names, number(0.0) - argument)
    return names.name("sigmoid", number(1.0) / (number(1.0) + power))


_FORMS = {"tirx.exp": _exp, "tirx.erf": _erf, "tirx.tanh": _tanh, "tirx.sigmoid": _sigmoid}


def _form(call: Call) -> tuple[Callable[[Names, Expr], Expr], Expr] | None:
    """Return the polynomial form of a call and its argument, None if there is none."""
    name = getattr(call.op, "name", "")
    if dtype_of(call) != "float32":
        return None
    if name in _FORMS:
        return _FORMS[name], call.args[0]
    return short_form(call)


def expand_calls(body: tirx.Stmt) -> tirx.Stmt:
    """Replace the calls in stored values that have a polynomial form.

    A value with guarded parts keeps its calls: named values are computed unconditionally.
    """
    return tvm_ffi.structural_map(
        body, [(tirx.For, _expand_vector_loop), (tirx.BufferStore, _expand_scalar)], order="pre"
    )


def _expand_vector_loop(loop: tirx.For) -> tirx.Stmt:
    if loop.kind != tirx.ForKind.VECTORIZED:
        return loop
    names = Names(loop.loop_var, int(loop.extent))
    body = tvm_ffi.structural_map(loop.body, (tirx.BufferStore, lambda s: _expand(s, names)))
    if not names.allocations:
        return loop
    return tirx.SeqStmt(
        [*names.allocations, tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)]
    )


def _expand_scalar(store: tirx.BufferStore) -> tirx.Stmt:
    names = Names(tirx.IntImm("int32", 0), 1)
    body = _expand(store, names)
    return tirx.SeqStmt([*names.allocations, body]) if names.allocations else store


def _expand(store: tirx.BufferStore, names: Names) -> tirx.Stmt:
    if is_guarded(store.value):
        return store

    def expand(call: Call) -> Expr:
        found = _form(call)
        if found is None:
            return call
        form, argument = found
        return form(names, argument)

    value = tvm_ffi.structural_map(store.value, (Call, expand))
    if not names.stores:
        return store
    stores, names.stores = names.stores, []
    return tirx.SeqStmt([*stores, tirx.BufferStore(store.buffer, value, store.indices)])
