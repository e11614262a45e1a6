"""Slices before permutations: what reads a part of a permuted value does not wait for the whole.

`qkv.permute(...)` followed by three slices would be a pass over the memory of its own. A permuted
slice joins whatever reads it.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.expressions import integer

_SLICE, _PERMUTE = "relax.strided_slice", "relax.permute_dims"


def slice_first() -> tvm.ir.transform.Pass:
    """A pass that slices before it permutes, where only slices of the permuted value are read."""

    @tvm.transform.module_pass(opt_level=0, name="SamTvmSliceFirst")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if not isinstance(function, relax.Function):
                continue
            permuted = _only_sliced(function)
            if permuted:
                rewritten = _Slicer(module, permuted).visit_expr(function)
                module[var] = relax.analysis.remove_all_unused(rewritten)
        return module

    return run


def _only_sliced(function: relax.Function) -> dict[relax.Var, relax.Call]:
    """Return the permutations that nothing but slices reads, by their variables."""
    bindings = [
        (binding.var, binding.value)
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
    ]
    found = {var: value for var, value in bindings if _is(value, _PERMUTE)}
    read = list(relax.analysis.free_vars(function.body.body))
    for _, value in bindings:
        if not _is(value, _SLICE):
            read += relax.analysis.free_vars(value)
    return {var: value for var, value in found.items() if var not in set(read)}


def _is(value: relax.Expr, name: str) -> bool:
    return (
        isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op) and value.op.name == name
    )


@mutator
class _Slicer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, permuted: dict[relax.Var, relax.Call]) -> None:
        super().__init__(module)
        self.permuted = permuted

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it is a slice of a permuted value."""
        if not _is(call, _SLICE) or call.args[0] not in self.permuted:
            return super().visit_call_(call)
        _, axes, *bounds = call.args
        permutation = self.permuted[call.args[0]]
        order = _order(permutation)
        below = relax.Tuple([integer(order[int(axis)], "int64") for axis in axes])
        source = self.visit_expr(permutation.args[0])
        part = self.builder_.emit(relax.Call(call.op, [source, below, *bounds], call.attrs))
        return relax.op.permute_dims(part, order)


def _order(permutation: relax.Call) -> list[int]:
    axes = permutation.attrs.axes
    rank = permutation.ty.ndim
    return [int(axis) % rank for axis in axes] if axes else list(range(rank))[::-1]
