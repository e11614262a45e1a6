"""A Relax pass: convolutions that were left for it become calls of generated kernels.

The weight is transformed and packed by a function of it alone. A bias that is added to a result
which nobody else reads is added by the kernel.
"""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.projections import is_bias
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import rewriting_pass
from sam_tvm.kernels.target_features import VectorUnit, vector_unit
from sam_tvm.kernels.winograd import weights
from sam_tvm.kernels.winograd.call import is_winograd, sizes_of
from sam_tvm.kernels.winograd.kernel import RULE, winograd_function
from sam_tvm.kernels.winograd.problem import Sizes, choose_tile


def place(target: tvm.target.Target | str, precision: str = "float32") -> tvm.ir.transform.Pass:
    """Return a pass that replaces every such convolution by a call of a kernel made for it.

    Calls of equal sizes share a kernel.

    Args:
        target: an LLVM target.
        precision: `float32`, or `bfloat16` for kernels that round what they multiply.
    """
    unit, pairs = vector_unit(tvm.target.Target(target)), precision == "bfloat16"
    return rewriting_pass("SamTvmPlaceWinograd", lambda module: _Placer(module, unit, pairs))


@mutator
class _Placer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, unit: VectorUnit, pairs: bool) -> None:
        super().__init__(module)
        self.unit, self.pairs = unit, pairs
        self.kernels: dict[Sizes, tvm.ir.GlobalVar] = {}
        self.joined = _convolutions_with_bias(module)
        self.taken = {convolution for convolution, _, _ in self.joined.values()}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Leave out a convolution that is computed where its bias is added."""
        if binding.var in self.taken:
            return
        if binding.var not in self.joined:
            super().visit_var_binding_(binding)
            return
        _, call, bias = self.joined[binding.var]
        result = self.call_kernel(call, bias)
        is_inner = isinstance(binding.var, relax.DataflowVar)
        emit = self.builder_.emit if is_inner else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(result))

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replace one call, if it is such a convolution."""
        return self.call_kernel(call, None) if is_winograd(call) else super().visit_call_(call)

    def call_kernel(self, call: relax.Call, bias: relax.Expr | None) -> relax.Expr:
        """Return the call of the kernel for a convolution, and what is added to its result."""
        sizes = replace(sizes_of(call, self.pairs), has_bias=bias is not None)
        tile = choose_tile(sizes, self.unit)
        if sizes not in self.kernels:
            self.kernels[sizes] = self.builder_.add_func(winograd_function(sizes, tile), RULE)
        x, weight = (self.visit_expr(tensor) for tensor in call.args)
        tensors = [x, weights.pack(self.builder_, weight, tile.width, self.pairs)]
        if bias is not None:
            flat = relax.op.reshape(self.visit_expr(bias), [sizes.outputs])
            tensors.append(self.builder_.emit(flat))
        return relax.call_tir(self.kernels[sizes], tensors, call.ty)


Joined = dict[relax.Var, tuple[relax.Var, relax.Call, relax.Expr]]


def _convolutions_with_bias(module: tvm.IRModule) -> Joined:
    """The sums of a convolution and its bias: the convolution's variable, its call, and the bias.

    The convolution's result has no other reader.
    """
    found: Joined = {}
    for function in module.functions.values():
        if not isinstance(function, relax.Function) or not isinstance(function.body, relax.SeqExpr):
            continue
        readers = Readers(function)
        for var, value in readers.values.items():
            if operator_name(value) != "relax.add":
                continue
            for own, other in (value.args, reversed(value.args)):
                call = readers.value_read_once(own)
                if is_winograd(call) and is_bias(other, call):
                    found[var] = own, call, other
                    break
    return found
