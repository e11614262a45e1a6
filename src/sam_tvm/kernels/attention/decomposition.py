"""A Relax pass for pipelines without kernels: attention written out as products and a softmax."""

from __future__ import annotations

import math

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.attention.operands import OPERATORS, scale_of
from sam_tvm.kernels.attention.windows import is_windowed_attention
from sam_tvm.kernels.graph.operators import PERMUTE, operator_name, permutation
from sam_tvm.kernels.graph.rewriting import rewriting_pass

_LOWEST = -3.4028234663852886e38  # the lowest finite float32
_TINY = 1e-30


def decompose() -> tvm.ir.transform.Pass:
    """Return a pass that writes attention out, with the whole matrix of scores in memory.

    TVM's own legalisation gives NaN for a query that may see no key; this gives 0, as PyTorch does.
    """
    return rewriting_pass("SamTvmDecomposeAttention", _Writer)


@mutator
class _Writer(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Write out one call, if it is attention without a sliding window."""
        if is_windowed_attention(call):
            return self._windows(call)
        if operator_name(call) not in OPERATORS or call.attrs.window_size is not None:
            return super().visit_call_(call)
        arguments = [self.visit_expr(argument) for argument in call.args]
        query, key, value = (self._heads_second(tensor) for tensor in arguments[:3])
        dtype = str(query.ty.dtype)
        emit = self.builder_.emit

        def number(value: float) -> relax.Expr:
            return relax.const(value, dtype)

        query = emit(relax.op.multiply(query, number(scale_of(call))))
        scores = emit(relax.op.matmul(query, emit(relax.op.permute_dims(key, [0, 1, 3, 2]))))
        if len(arguments) == 4:
            scores = emit(relax.op.add(scores, arguments[3]))
        if call.attrs.causal_mask is not None:
            scores = emit(relax.op.add(scores, self._causal(call, scores)))
        # The lowest finite number instead of -infinity: what is subtracted must not make NaN.
        highest = emit(relax.op.max(scores, axis=-1, keepdims=True))
        highest = emit(relax.op.maximum(highest, number(_LOWEST)))
        weights = emit(relax.op.exp(emit(relax.op.subtract(scores, highest))))
        total = emit(relax.op.sum(weights, axis=-1, keepdims=True))
        total = emit(relax.op.maximum(total, number(_TINY)))
        result = emit(relax.op.matmul(emit(relax.op.divide(weights, total)), value))
        return relax.op.permute_dims(result, [0, 2, 1, 3])

    def _windows(self, call: relax.Call) -> relax.Expr:
        """Gather rows into windows as long as the longest, attend, and take the results back."""
        qkv, windows, slots = (self.visit_expr(tensor) for tensor in call.args[1].fields)
        emit, op = self.builder_.emit, relax.op
        present = emit(op.greater(windows, relax.const(0, "int32")))
        named = emit(op.subtract(windows, relax.const(1, "int32")))
        rows = emit(op.where(present, named, relax.const(0, "int32")))
        hidden = (relax.const(number, "float32") for number in (0.0, -math.inf))
        bias = emit(op.expand_dims(emit(op.where(present, *hidden)), [1, 2]))
        gathered = emit(op.take(qkv, rows, axis=0))
        parts = (emit(op.take(gathered, relax.const(part, "int32"), axis=2)) for part in range(3))
        result = self.visit_call_(self.builder_.normalize(op.nn.attention(*parts, bias)))
        count, longest = windows.ty.shape
        flat = emit(op.reshape(emit(result), (count * longest, call.ty.shape[1])))
        return op.take(flat, slots, axis=0)

    def _heads_second(self, tensor: relax.Expr) -> relax.Expr:
        """Swap heads and positions; what was just swapped is taken as it was before."""
        before = self.lookup_binding(tensor) if isinstance(tensor, relax.Var) else None
        if operator_name(before) == PERMUTE and permutation(before) == [0, 2, 1, 3]:
            return before.args[0]
        return self.builder_.emit(relax.op.permute_dims(tensor, [0, 2, 1, 3]))

    def _causal(self, call: relax.Call, scores: relax.Expr) -> relax.Expr:
        """Return -infinity where a query must not see a key, else 0."""
        *_, queries, keys = scores.ty.shape
        emit = self.builder_.emit
        # Not `full`, whose legalisation fails for an infinite number.
        hidden = relax.const(-math.inf, str(scores.ty.dtype))
        hidden = emit(relax.op.broadcast_to(hidden, (queries, keys)))
        beyond = 0
        if call.attrs.causal_mask == "BottomRight":
            beyond = tvm.tirx.max(queries - keys, keys - queries)
        return emit(relax.op.triu(hidden, beyond + 1))
