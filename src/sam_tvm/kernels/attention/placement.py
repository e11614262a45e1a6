"""A Relax pass: attention operators become calls of generated kernels."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relax, sym

from sam_tvm.kernels.attention.kernel import RULE, attention_function
from sam_tvm.kernels.attention.operands import OPERATORS, Site, describe, is_supported
from sam_tvm.kernels.attention.rounding import rounded_operands, rounded_results
from sam_tvm.kernels.graph.operators import is_rearrangement, operator_name
from sam_tvm.kernels.graph.panels import panels_for, round_call, widen_call
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.views import View, has_shape, has_vectors, place_in, whole
from sam_tvm.kernels.target_features import VectorUnit, vector_unit


def place(target: tvm.target.Target | str, precision: str) -> tvm.ir.transform.Pass:
    """Return a pass that replaces every attention by a call of a kernel made for it.

    What only moves operands or results about (permuting, reshaping, slicing) and is read by nothing
    else disappears: kernels read and write through strides. Calls of equal sizes and strides share
    a kernel. An attention that no kernel is made for (`operands.is_supported`) stays.

    Args:
        target: an LLVM target.
        precision: ``float32``, or ``bfloat16`` for the operands of products.

    Raises:
        UnsupportedPrecisionError: unknown, or there are no kernels of it for the target's CPU.

    """
    target = tvm.target.Target(target)
    unit, bfloat16 = vector_unit(target), panels_for(target, precision).bfloat16

    @tvm.transform.module_pass(opt_level=0, name="SamTvmPlaceAttention")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        builder = relax.BlockBuilder(module)
        placer = _Placer(builder, unit, bfloat16)
        for var, function in module.functions_items():
            if isinstance(function, relax.Function):
                changed = placer.rewrite(function)
                if changed is not None:
                    builder.update_func(var, changed)
        return builder.finalize()

    return run


class _Placer:
    """Replaces attention in the functions of one module."""

    def __init__(self, builder: relax.BlockBuilder, unit: VectorUnit, bfloat16: bool) -> None:
        self._builder, self._unit, self._bfloat16 = builder, unit, bfloat16
        self._analyzer = sym.Analyzer()
        self._kernels: dict[str, tvm.ir.GlobalVar] = {}
        self._rounded: dict[relax.Var, relax.Var] = {}
        self._multiplied: set[relax.Var] = set()

    def rewrite(self, function: relax.Function) -> relax.Function | None:
        """Return the function with its attentions replaced, None if there are none."""
        blocks = list(function.body.blocks)
        readers = Readers(function)
        if not any(operator_name(value) in OPERATORS for value in readers.values.values()):
            return None
        if self._bfloat16 and "num_input" in (function.attrs or {}):
            weights = set(parameter_values(function))
            self._multiplied = rounded_results(readers, weights)
            operands = rounded_operands(readers, weights, self._builder.get())
            self._rounded = {
                var: relax.DataflowVar(f"{var.name}_rounded", self._round(var).ty)
                for var in operands
                if isinstance(var, relax.DataflowVar)
            }
        blocks = [self._rewrite_block(block, readers) for block in blocks]
        body = relax.SeqExpr(blocks, function.body.body)
        changed = relax.Function(
            function.params, body, function.ret_ty, function.is_pure, function.attrs
        )
        return relax.analysis.remove_all_unused(changed)

    def _rewrite_block(
        self,
        block: relax.BindingBlock,
        readers: Readers,
    ) -> relax.BindingBlock:
        bindings: list[relax.Binding] = []
        moved: set[relax.Var] = set()
        for binding in block.bindings:
            if binding.var in moved:
                continue
            call = binding.value
            if not is_supported(call):
                bindings.append(binding)
                if binding.var in self._rounded:
                    rounded = self._rounded[binding.var]
                    bindings.append(relax.VarBinding(rounded, self._round(binding.var)))
                continue
            result, view, skipped = self._result(binding.var, block, readers)
            moved |= skipped
            site = describe(call, view, readers.values, self._analyzer)
            tensors = [self._rounded.get(tensor, tensor) for tensor in site.tensors]
            site = replace(site, tensors=tensors)
            bindings += self._written(site, result)
        return type(block)(bindings)

    def _result(
        self, var: relax.Var, block: relax.BindingBlock, readers: Readers
    ) -> tuple[relax.Var, View, set[relax.Var]]:
        """Return the variable to write, the attention's place in it, and bindings to leave out.

        The result's only reader may permute or reshape it, and so on: the last such value that
        strides reach is written directly.
        """
        found = var, whole(var), set()
        steps: list[relax.Call] = []
        passed: set[relax.Var] = set()
        here = {binding.var for binding in block.bindings}
        while (after := readers.only(var)) in here:
            call = readers.values[after]
            if not is_rearrangement(call) or not has_shape(after):
                break
            var = after
            steps.append(call)
            passed.add(var)
            view = place_in(var, steps, self._analyzer)
            if has_vectors(view):
                found = var, view, set(passed)
        return found

    def _round(self, var: relax.Var) -> relax.Expr:
        """Return the call that rounds a variable, which joins the product before it."""
        return self._builder.normalize(round_call(self._builder, var))

    def _written(self, site: Site, result: relax.Var) -> list[relax.Binding]:
        """Return what binds an attention's result; products read it as bfloat16."""
        if result not in self._multiplied or not isinstance(result, relax.DataflowVar):
            return [relax.VarBinding(result, self._call(site, result.ty))]
        kind = relax.TensorType(result.ty.shape, "uint16")
        narrow = relax.DataflowVar(f"{result.name}_narrow", kind)
        call = self._call(replace(site, written="uint16"), kind)
        wide = self._builder.normalize(widen_call(self._builder, narrow))
        return [relax.VarBinding(narrow, call), relax.VarBinding(result, wide)]

    def _call(self, site: Site, kind: relax.TensorType) -> relax.Expr:
        if site.key not in self._kernels:
            function = attention_function(
                site.attention, site.shapes, site.dtypes, site.sizes, self._unit, self._bfloat16
            )
            self._kernels[site.key] = self._builder.add_func(function, RULE)
        kernel = self._kernels[site.key]
        call = relax.call_tir(kernel, [*site.tensors, *site.values], kind)
        return self._builder.normalize(call)
