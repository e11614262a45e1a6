"""Weights in panels: matrix products with a weight read it in the order of the kernel's tiles.

`matmul(x, w)`, where `w` depends on parameters alone, becomes a packing of `w` and a product that
reads the panels (`kernels.panels`). The packing depends on parameters alone too, so it runs once,
when the model is built.
"""

from __future__ import annotations

from collections import Counter

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels import panels as layout
from sam_tvm.kernels.channels_last import BINARY, PERMUTE, RESHAPES, UNARY, operator_name
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.panels import Panels
from sam_tvm.kernels.parameters import functions_with_parameters, parameter_values
from sam_tvm.kernels.quantisation import quantise

# Below this many columns most of a panel would be padding; the default rule takes the product.
_FEWEST_COLUMNS = 16
_FEWEST_ROWS = 16
_ROUNDED_TOGETHER = 32  # bfloat16 in a cache line
# What FuseOps lets rounding join a product, or a permutation, through.
_JOINED = BINARY | UNARY | RESHAPES


def pack_weights(panels: Panels) -> tvm.ir.transform.Pass:
    """A pass that packs the weights of all matrix products.

    It looks at the Relax functions that say in `num_input` after how many inputs their parameters
    begin, and adds packings and products as TIR functions to the module.

    Args:
        panels: how the target's kernels want their weights; of int8 ones the product is scaled.
    """

    @tvm.transform.module_pass(opt_level=0, name="SamTvmPackWeights")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in functions_with_parameters(module):
            packer = _Packer(module, panels, function)
            packer.builder_.update_func(var, packer.visit_expr(function))
            module = packer.builder_.finalize()
        return module

    return run


@mutator
class _Packer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, panels: Panels, function: relax.Function) -> None:
        super().__init__(module)
        self.panels, self.weights = panels, set(parameter_values(function))
        self.bound = dict(relax.analysis.get_var2val(function))
        self.readers = Counter(
            var for value in self.bound.values() for var in relax.analysis.free_vars(value)
        )

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it multiplies by a weight that is worth packing."""
        if not self._is_product_with_weight(call):
            return super().visit_call_(call)
        is_rounded = self.panels.bfloat16 and self._joins_its_maker(call.args[0])
        x, weight = (self.visit_expr(argument) for argument in call.args)
        if is_rounded:
            x = layout.round_operand(self.builder_, x)
        columns = int(call.args[1].ty.shape[1])
        if not self.panels.int8:
            packed = layout.pack(self.builder_, weight, self.panels)
            return layout.matmul(self.builder_, x, packed, columns, self.panels)
        rounded, scale = quantise(self.builder_, weight)
        packed = layout.pack(self.builder_, rounded, self.panels)
        sums = layout.matmul(self.builder_, x, packed, columns, self.panels)
        return self.builder_.emit(relax.op.multiply(sums, scale))

    def _joins_its_maker(self, x: relax.Expr) -> bool:
        """Tell whether rounding `x` joins the loops that compute it: a product's, or a move's.

        Its rows must be whole words of a cache line, as no more is copied of them.
        """
        length = constant_value(x.ty.shape[-1])
        if length is None or length % _ROUNDED_TOGETHER:
            return False
        while isinstance(x, relax.Var) and self.readers[x] == 1:
            value = self.bound.get(x)
            name = operator_name(value)
            if name == PERMUTE or self._is_product_with_weight(value):
                return True
            if name not in _JOINED:
                return False
            x = value.args[0]
        return False

    def _is_product_with_weight(self, call: relax.Expr | None) -> bool:
        if (
            not isinstance(call, relax.Call)
            or call.op != tvm.ir.Op.get("relax.matmul")
            or call.args[1] not in self.weights
        ):
            return False
        x, weight = call.args[0].ty, call.args[1].ty
        if x.ndim < 2 or weight.ndim != 2 or str(x.dtype) != "float32":
            return False
        rows, columns = (int(extent) for extent in weight.shape)
        return rows >= _FEWEST_ROWS and columns >= _FEWEST_COLUMNS
