"""Products in the cheaper order: few rows meet a weight, not the many they are compared with.

`a (x w + b)^T` is `(a w^T) x^T + a b`. Where `a` has fewer rows than `x`, as the embeddings of some
masks have beside all pixels of a picture, the second form multiplies less, and stores no `x w`.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.attention.readers import Readers
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.movement import ONE, Reshape, keeps_rows, shape_of
from sam_tvm.kernels.operators import MATMUL, PERMUTE, RESHAPES, operator_name, permutation, swapped
from sam_tvm.kernels.parameters import is_product_with, parameter_values
from sam_tvm.kernels.rewriting import Rewriter, parameter_rewriting_pass


def multiply_few_rows_first() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmMultiplyFewRowsFirst", _Rewriter)


@dataclass(frozen=True)
class _Comparison:
    """A product of rows with many others, which are products with a weight themselves.

    Attributes:
        rows: `a`, (..., M, C).
        many: `x w + b` as it is read, (..., N, C), before its last axes change places.
        x, weight: (..., K) and (K, C).
        bias: of C elements, None if nothing is added.

    """

    rows: relax.Var
    many: relax.Var
    x: relax.Var
    weight: relax.Var
    bias: relax.Var | None

    @property
    def is_cheaper_from_the_left(self) -> bool:
        """Whether `(a w^T) x^T` takes fewer multiplications; all extents must be known."""
        (m, c), n = shape_of(self.rows)[-2:], shape_of(self.many)[-2]
        m, n, c, k = (constant_value(e) for e in (m, n, c, shape_of(self.weight)[0]))
        if None in (m, n, c, k):
            return False
        return m * c * k + m * n * k < n * k * c + m * n * c


@mutator
class _Rewriter(Rewriter):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.found: dict[relax.Var, _Comparison] = {}

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look for such products first."""
        readers, parameters = Readers(function), set(parameter_values(function))
        for var, value in readers.values.items():
            comparison = _comparison(value, readers, parameters)
            if comparison is not None and comparison.is_cheaper_from_the_left:
                self.found[var] = comparison
        self.changed = bool(self.found)
        return super().visit_function_(function)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Rewrite one binding, if it is such a product."""
        if binding.var not in self.found:
            super().visit_var_binding_(binding)
            return
        value = self._from_the_left(self.found[binding.var])
        is_inner = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if is_inner else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(value))

    def _from_the_left(self, of: _Comparison) -> relax.Expr:
        op, emit = relax.op, self.builder_.emit
        rows, x, weight = map(self.visit_expr, (of.rows, of.x, of.weight))
        few = emit(op.matmul(rows, emit(op.permute_dims(weight, [1, 0]))))
        x = emit(op.reshape(x, [*shape_of(of.many)[:-1], shape_of(weight)[0]]))
        result = op.matmul(few, emit(op.permute_dims(x, swapped(len(shape_of(x))))))
        if of.bias is None:
            return result
        column = emit(op.reshape(self.visit_expr(of.bias), [shape_of(weight)[1], ONE]))
        return op.add(emit(result), emit(op.matmul(rows, column)))


def _comparison(
    call: relax.Expr, readers: Readers, parameters: set[relax.Var]
) -> _Comparison | None:
    """Return what a value multiplies; None where it is anything else, or another reads a part."""
    if operator_name(call) != MATMUL or not isinstance(call.args[1], relax.Var):
        return None
    rows, var = call.args
    turned = _alone(var, readers)
    if operator_name(turned) != PERMUTE or len(shape_of(rows)) != len(turned.ty.shape):
        return None
    if permutation(turned) != swapped(len(turned.ty.shape)):
        return None
    many = var = turned.args[0]
    while operator_name(value := _alone(var, readers)) in RESHAPES:
        if not keeps_rows([Reshape(shape_of(value.args[0]), shape_of(value))]):
            return None
        var = value.args[0]
    bias = None
    if operator_name(value) == "relax.add":
        biases = [a for a in value.args if a in parameters and _is_bias(a, value)]
        others = [a for a in value.args if a not in parameters]
        if len(biases) != 1 or len(others) != 1:
            return None
        (bias,), value = biases, _alone(others[0], readers)
    if not is_product_with(value, parameters):
        return None
    return _Comparison(rows, many, *value.args, bias)


def _alone(var: relax.Expr, readers: Readers) -> relax.Expr | None:
    """Return the value of a variable that has one reader."""
    return readers.values.get(var) if readers.only(var) is not None else None


def _is_bias(value: relax.Var, whole: relax.Expr) -> bool:
    """Tell whether a value has one number for each element of the last axis."""
    extents = [constant_value(extent) for extent in shape_of(value)]
    ones = [1] * (len(extents) - 1)
    return extents == [*ones, constant_value(shape_of(whole)[-1])]
