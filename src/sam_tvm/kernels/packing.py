"""Weights in panels: matrix products with a weight read it in the order of the kernel's tiles.

`matmul(x, w)`, where `w` depends on parameters alone, becomes a packing of `w` and a product that
reads the panels (`kernels.panels`). The packing depends on parameters alone too, so it runs once,
when the model is built.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels import panels as layout
from sam_tvm.kernels.panels import Panels
from sam_tvm.kernels.parameters import functions_with_parameters, parameter_values
from sam_tvm.kernels.quantisation import quantise

# Below this many columns most of a panel would be padding; the default rule takes the product.
_FEWEST_COLUMNS = 16
_FEWEST_ROWS = 16


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
            packer = _Packer(module, panels, set(parameter_values(function)))
            packer.builder_.update_func(var, packer.visit_expr(function))
            module = packer.builder_.finalize()
        return module

    return run


@mutator
class _Packer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, panels: Panels, weights: set[relax.Var]) -> None:
        super().__init__(module)
        self.panels, self.weights = panels, weights

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it multiplies by a weight that is worth packing."""
        if not self._is_product_with_weight(call):
            return super().visit_call_(call)
        x, weight = (self.visit_expr(argument) for argument in call.args)
        columns = int(call.args[1].ty.shape[1])
        if not self.panels.int8:
            packed = layout.pack(self.builder_, weight, self.panels)
            return layout.matmul(self.builder_, x, packed, columns, self.panels)
        rounded, scale = quantise(self.builder_, weight)
        packed = layout.pack(self.builder_, rounded, self.panels)
        sums = layout.matmul(self.builder_, x, packed, columns, self.panels)
        return self.builder_.emit(relax.op.multiply(sums, scale))

    def _is_product_with_weight(self, call: relax.Call) -> bool:
        if call.op != tvm.ir.Op.get("relax.matmul") or call.args[1] not in self.weights:
            return False
        x, weight = call.args[0].ty, call.args[1].ty
        if x.ndim < 2 or weight.ndim != 2 or str(x.dtype) != "float32":
            return False
        rows, columns = (int(extent) for extent in weight.shape)
        return rows >= _FEWEST_ROWS and columns >= _FEWEST_COLUMNS
