"""Products in the cheaper order: few rows meet a weight, not the many they are compared with.

`a (x w + b)^T` is `(a w^T) x^T + a b`. Where `a` has fewer rows than `x`, as the embeddings of some
masks have beside all pixels of a picture, the second form multiplies less, and stores no `x w`.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import ONE, Reshape, keeps_rows, shape_of
from sam_tvm.kernels.graph.operators import (
    MATMUL,
    PERMUTE,
    RESHAPES,
    operator_name,
    permutation,
    swapped,
)
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.projections import Projection, projection
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass


def multiply_few_rows_first() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmMultiplyFewRowsFirst", _Rewriter)


@dataclass(frozen=True)
class _Comparison:
    """A product of rows with many others, which are products with a weight themselves.

    Attributes:
        rows: `a`, (..., M, C).
        many: `x w + b` as it is read, (..., N, C), before its last axes change places.
        made: how it is made.

    """

    rows: relax.Var
    many: relax.Var
    made: Projection

    @property
    def is_cheaper_from_the_left(self) -> bool:
        """Whether `(a w^T) x^T` takes fewer multiplications; all extents must be known."""
        (m, c), n = shape_of(self.rows)[-2:], shape_of(self.many)[-2]
        m, n, c, k = (constant_value(e) for e in (m, n, c, shape_of(self.made.weight)[0]))
        if None in (m, n, c, k):
            return False
        return m * c * k + m * n * k < n * k * c + m * n * c


@mutator
class _Rewriter(Replacer):
    def find(self, function: relax.Function) -> dict[relax.Var, _Comparison]:
        """Return such products."""
        readers, parameters = Readers(function), set(parameter_values(function))
        found = {}
        for var, value in readers.values.items():
            comparison = _comparison(value, readers, parameters)
            if comparison is not None and comparison.is_cheaper_from_the_left:
                found[var] = comparison
        return found

    def replacement(self, _value: relax.Expr, found: _Comparison) -> relax.Expr:
        """Return the product in the other order."""
        op, emit = relax.op, self.builder_.emit
        made = found.made
        rows, x, weight = map(self.visit_expr, (found.rows, made.x, made.weight))
        few = emit(op.matmul(rows, emit(op.permute_dims(weight, [1, 0]))))
        x = emit(op.reshape(x, [*shape_of(found.many)[:-1], shape_of(weight)[0]]))
        result = op.matmul(few, emit(op.permute_dims(x, swapped(len(shape_of(x))))))
        if made.bias is None:
            return result
        column = emit(op.reshape(self.visit_expr(made.bias), [shape_of(weight)[1], ONE]))
        return op.add(emit(result), emit(op.matmul(rows, column)))


def _comparison(
    call: relax.Expr, readers: Readers, parameters: set[relax.Var]
) -> _Comparison | None:
    """Return what a value multiplies; None where it is anything else, or another reads a part."""
    if operator_name(call) != MATMUL or not isinstance(call.args[1], relax.Var):
        return None
    rows, var = call.args
    turned = readers.value_read_once(var)
    if operator_name(turned) != PERMUTE or len(shape_of(rows)) != len(turned.ty.shape):
        return None
    if permutation(turned) != swapped(len(turned.ty.shape)):
        return None
    many = var = turned.args[0]
    while operator_name(value := readers.value_read_once(var)) in RESHAPES:
        if not keeps_rows([Reshape(shape_of(value.args[0]), shape_of(value))]):
            return None
        var = value.args[0]
    made = projection(value, readers, parameters)
    return None if made is None else _Comparison(rows, many, made)
