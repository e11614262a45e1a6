"""Slices before permutations: each of a result's parts is permuted alone, by whatever reads it.

`slice(permute(x))` is `permute(slice(x))`. A permutation that several slices read would be laid out
whole; that of a slice joins the loops of its reader, or disappears in a kernel's strides.
"""

from __future__ import annotations

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.operators import PERMUTE, operator_name, permutation
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

_SLICE = "relax.strided_slice"


def slice_before_permutation() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmSliceBeforePermutation", _Rewriter)


@mutator
class _Rewriter(Rewriter):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it slices what was permuted."""
        call = super().visit_call_(call)
        if operator_name(call) != _SLICE:
            return call
        source = self.value(call.args[0])
        if operator_name(source) != PERMUTE:
            return call
        order = permutation(source)
        _, cut, *bounds = call.args
        axes = [constant_value(axis) for axis in cut]
        if None in axes:
            return call
        self.changed = True
        moved = relax.Tuple([tirx.IntImm("int64", order[axis]) for axis in axes])
        sliced = relax.Call(call.op, [source.args[0], moved, *bounds], call.attrs)
        return relax.op.permute_dims(self.builder_.emit(sliced), order)
