"""A Relax pass for pipelines without kernels: gathered products written out tap by tap."""

from __future__ import annotations

from functools import reduce

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.gathered.call import is_gathered_product, sizes_of
from sam_tvm.kernels.graph.rewriting import rewriting_pass


def decompose() -> tvm.ir.transform.Pass:
    """Return a pass that writes gathered products out as rows taken and multiplied."""
    return rewriting_pass("SamTvmDecomposeGatheredProducts", _Writer)


@mutator
class _Writer(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Write out one call, if it is a gathered product."""
        if not is_gathered_product(call):
            return super().visit_call_(call)
        sizes = sizes_of(call.args[1].fields)
        tensors = [self.visit_expr(tensor) for tensor in call.args[1].fields]
        x, table, weight, bias, columns, offsets = tensors[:6]
        emit, op = self.builder_.emit, relax.op
        # Row 0 of x, in front of the others, is what table entries of 0 name.
        zeros = relax.const([[0.0] * sizes.terms], "float32")
        padded = emit(op.concat([zeros, x], axis=0))
        first = emit(op.add(tensors[6], bias)) if sizes.has_start else bias
        results = []
        for group in range(sizes.groups):
            which = emit(self._row(columns, group))
            named = emit(op.take(table, which, axis=1))
            zero, one, step = (relax.const(number, "int32") for number in (0, 1, sizes.step))
            rows = emit(op.multiply(emit(op.subtract(named, one)), step))
            rows = emit(op.add(emit(op.add(rows, emit(self._row(offsets, group)))), one))
            rows = emit(op.where(emit(op.greater(named, zero)), rows, zero))
            own = emit(self._row(weight, group if sizes.weights > 1 else 0))

            def product(tap: int, rows: relax.Expr = rows, own: relax.Expr = own) -> relax.Expr:
                column = emit(op.strided_slice(rows, axes=[1], begin=[tap], end=[tap + 1]))
                taken = emit(op.take(padded, emit(op.squeeze(column, [1])), axis=0))
                return emit(op.matmul(taken, emit(self._row(own, tap))))

            products = (product(tap) for tap in range(sizes.taps))
            results.append(reduce(lambda a, b: emit(op.add(a, b)), products, first))
        stacked = emit(op.stack(results, axis=1))
        return op.reshape(stacked, call.ty.shape)

    def _row(self, tensor: relax.Expr, number: int) -> relax.Expr:
        """Return a tensor's part at a position of its first axis."""
        part = relax.op.strided_slice(tensor, axes=[0], begin=[number], end=[number + 1])
        return relax.op.squeeze(self.builder_.emit(part), [0])
