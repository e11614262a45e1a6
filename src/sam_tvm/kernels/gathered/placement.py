"""A Relax pass: gathered products become calls of generated kernels, their weights packed."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.gathered.call import is_gathered_product, sizes_of
from sam_tvm.kernels.gathered.kernel import RULE, gathered_function
from sam_tvm.kernels.gathered.problem import Sizes, choose_tile
from sam_tvm.kernels.graph import panels
from sam_tvm.kernels.graph.panels import Panels
from sam_tvm.kernels.graph.rewriting import rewriting_pass
from sam_tvm.kernels.target_features import VectorUnit, vector_unit

_WEIGHT = 2  # which of the call's tensors


def place(target: tvm.target.Target | str) -> tvm.ir.transform.Pass:
    """Return a pass that replaces every gathered product by a call of a kernel made for it.

    Calls of equal sizes share a kernel. Products are float32 in any precision.

    Args:
        target: an LLVM target.
    """
    unit = vector_unit(tvm.target.Target(target))

    return rewriting_pass("SamTvmPlaceGatheredProducts", lambda module: _Placer(module, unit))


@mutator
class _Placer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, unit: VectorUnit) -> None:
        super().__init__(module)
        self.unit = unit
        self.kernels: dict[Sizes, tvm.ir.GlobalVar] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replace one call, if it is a gathered product."""
        if not is_gathered_product(call):
            return super().visit_call_(call)
        sizes = sizes_of(call.args[1].fields)
        tile = choose_tile(sizes, self.unit)
        if sizes not in self.kernels:
            self.kernels[sizes] = self.builder_.add_func(gathered_function(sizes, tile), RULE)
        tensors = [self.visit_expr(tensor) for tensor in call.args[1].fields]
        packing = Panels(tile.width, bfloat16=False)
        tensors[_WEIGHT] = panels.pack(self.builder_, tensors[_WEIGHT], packing)
        return relax.call_tir(self.kernels[sizes], tensors, call.ty)
