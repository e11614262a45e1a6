"""A Relax pass: terms that meet next to nothing in a weight are made smaller before digits.

A row of Y shares a scale (`digits.py`), so a channel far above the others costs these their last
digits; where its own weights are next to nothing, its product does not make up for that. In
`y_k w_kn = (y_k s_k) (w_kn / s_k)` a power of two s_k changes no bit of a float32 and evens both
out. Weights are looked at when the model is built; of most, all s_k are 1. The idea is that of
equalisation before quantising (Nagel et al., "Data-free quantization through weight equalization
and bias correction", 2019; Xiao et al., "SmoothQuant", 2023).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import relax, te, tirx
from tvm.ir import Expr, Var
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.amx.choice import FEW_ROWS, FEWEST_TERMS
from sam_tvm.kernels.expressions import constant_value, product
from sam_tvm.kernels.graph.movement import ONE, shape_of
from sam_tvm.kernels.graph.operators import (
    BINARY,
    NORM,
    PERMUTE,
    UNARY,
    is_rearrangement,
    operator_name,
    permutation,
)
from sam_tvm.kernels.graph.packing import is_worth_packing
from sam_tvm.kernels.graph.panels import Panels
from sam_tvm.kernels.graph.parameters import parameter_values, parameters_first
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass

_LEFT_ALONE = 4.0  # times below the largest that a term's weights may be
_LEAST = 2.0**-24  # of a factor: the term's largest weight is below all digits
_EXPONENT = 0x7F800000  # bits of a float32


def balance_terms(panels: Panels) -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin.

    It changes nothing where products are not done in digits.

    Args:
        panels: how weights will be packed.
    """
    if not panels.tiles or panels.bfloat16 or panels.int8:
        return tvm.transform.Sequential([], name="SamTvmBalanceTerms")
    return parameter_rewriting_pass("SamTvmBalanceTerms", _Rewriter)


@dataclass(frozen=True)
class _Made:
    """A value that products alone read, and that takes the factors into its own loops.

    Attributes:
        var: its variable.
        weights: what it is multiplied with.

    """

    var: relax.Var
    weights: tuple[relax.Var, ...]


@dataclass(frozen=True)
class _Product:
    """A product with such a value."""

    made: relax.Var


@mutator
class _Rewriter(Replacer):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._factors: dict[relax.Var, relax.Expr] = {}

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Let the weights be known before the values that they meet."""
        return super().visit_function_(parameters_first(function))

    def find(self, function: relax.Function) -> dict[relax.Var, _Made | _Product]:
        """Return what products in digits read, and these."""
        if len(function.body.blocks) != 1:
            return {}
        readers, parameters = Readers(function), set(parameter_values(function))
        found: dict[relax.Var, _Made | _Product] = {}
        for var, value in readers.values.items():
            if var in parameters or not _takes_factors(value):
                continue
            products = list(_products(var, readers, parameters))
            if not products or None in products:
                continue
            weights = tuple(readers.values[reader].args[1] for reader in products)
            found[var] = _Made(var, weights)
            found |= {reader: _Product(var) for reader in products}
        return found

    def replacement(self, value: relax.Expr, found: _Made | _Product) -> relax.Expr:
        """Return a value times the factors, or its product with a weight over them."""
        op, emit = relax.op, self.builder_.emit
        arguments = [self.visit_expr(argument) for argument in value.args]
        if isinstance(found, _Product):
            x, weight = arguments
            factor = self._factors[found.made]
            column = emit(op.reshape(factor, [shape_of(factor)[0], ONE]))
            return op.matmul(x, emit(op.divide(weight, column)))
        factor = self._factors[found.var] = self._factor(found.weights)
        if operator_name(value) != NORM:
            same = emit(relax.Call(value.op, arguments, value.attrs))
            return op.multiply(same, factor)
        x, *affine = arguments
        affine = [emit(op.multiply(each, factor)) for each in affine]
        return relax.Call(value.op, [x, *affine], value.attrs)

    def _factor(self, weights: tuple[relax.Var, ...]) -> relax.Expr:
        """Emit the factors of terms that meet some weights: powers of two, at most 1."""
        op, emit = relax.op, self.builder_.emit
        shares = []
        for weight in map(self.visit_expr, weights):
            largest = emit(op.max(emit(op.abs(weight)), axis=1))
            shares.append(emit(op.divide(largest, emit(op.max(largest)))))
        share = functools.reduce(lambda a, b: emit(op.maximum(a, b)), shares)
        call = self.builder_.call_te(_powers, share, primfunc_name_hint="balance")
        return emit(call)


def _powers(share: te.Tensor) -> te.Tensor:
    """Return the largest powers of two that are at most so many times a share, up to 1."""

    def power(term: Var) -> Expr:
        # Without its mantissa; that of NaN, of a weight that is 0 or not finite, is infinite.
        bits = tirx.reinterpret("uint32", share(term) * tirx.const(_LEFT_ALONE, "float32"))
        found = tirx.reinterpret("float32", bits & tirx.const(_EXPONENT, "uint32"))
        most, least = (tirx.const(bound, "float32") for bound in (1.0, _LEAST))
        return tirx.min(tirx.max(found, least), most)

    return te.compute(share.shape, power, name="factors")


def _takes_factors(value: relax.Expr) -> bool:
    """Tell whether a multiplication joins what computes a value."""
    name = operator_name(value)
    if name == NORM:
        axes, rank = list(value.attrs.axes), len(value.args[0].ty.shape)
        return [int(axis) % rank for axis in axes] == [rank - 1]
    return name in BINARY | UNARY


def _products(
    var: relax.Var, readers: Readers, parameters: set[relax.Var]
) -> Iterator[relax.Var | None]:
    """Return the products in digits that read a value's rows; None for whatever else reads it."""
    if var in readers.results:
        yield None
    for reader in readers.of(var):
        value = readers.values[reader]
        if is_rearrangement(value) and _keeps_rows(value):
            yield from _products(reader, readers, parameters)
        elif is_worth_packing(value, parameters) and _is_in_digits(value):
            yield reader
        else:
            yield None


def _keeps_rows(call: relax.Call) -> bool:
    """Tell whether a rearrangement leaves the last axis as it is."""
    before, after = shape_of(call.args[0]), shape_of(call)
    if operator_name(call) == PERMUTE:
        return permutation(call)[-1] == len(after) - 1
    lengths = [constant_value(shape[-1]) for shape in (before, after)]
    return lengths[0] is not None and lengths[0] == lengths[1]


def _is_in_digits(call: relax.Call) -> bool:
    """Tell whether a product with a weight may have enough terms and rows."""
    *outer, terms = shape_of(call.args[0])
    rows = constant_value(product(outer))
    return constant_value(terms) >= FEWEST_TERMS and (rows is None or rows >= FEW_ROWS)
