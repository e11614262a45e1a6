"""Convolutions with a weight: channels last, as products with packed weights.

A module is read once, from its inputs to its results. A convolution whose weight depends on
parameters alone takes the form that suits it (`forms.py`). Its result is permuted back
only where something needs it so: element-wise operators, reductions, pooling and resizing work on
the channels-last value, so that a bias and an activation follow the product directly, and no
permutation stays between two convolutions.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.convolutions.forms import Forms, describe
from sam_tvm.kernels.convolutions.propagation import Propagation, leading_to_convolutions
from sam_tvm.kernels.graph.movement import Layouts, Moved
from sam_tvm.kernels.graph.panels import Panels
from sam_tvm.kernels.graph.parameters import functions_with_parameters, parameter_values

_TRANSPOSED = "relax.nn.conv2d_transpose"
# The layouts of picture and weight that the importer writes.
_LAYOUTS = {
    "relax.nn.conv2d": ("NCHW", "OIHW"),
    "relax.nn.conv3d": ("NCDHW", "OIDHW"),
    _TRANSPOSED: ("NCHW", "IOHW"),
}


def channels_last(panels: Panels, winograd: bool = False) -> tvm.ir.transform.Pass:
    """A pass that rewrites the convolutions with weights, and what lies between them.

    It looks at the Relax functions that say in `num_input` after how many inputs their parameters
    begin. Grouped convolutions, those of constant or computed kernels, and those with so few output
    channels that panels would be mostly padding stay as they are.

    Args:
        panels: how the target's kernels want their weights.
        winograd: whether `winograd.place` follows; convolutions that it makes faster are left to
            it, channels last.
    """

    @tvm.transform.module_pass(opt_level=0, name="SamTvmChannelsLast")
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in functions_with_parameters(module):
            if not any(_is_convolution(value) for _, value in _bindings(function)):
                continue
            # What is put into a tuple and read back is the value itself, the rest may be unused.
            alone = relax.transform.CanonicalizeBindings()(tvm.IRModule({var: function}))
            function = relax.analysis.remove_all_unused(alone[var])
            rewriter = _Rewriter(module, function, panels, winograd)
            rewriter.builder_.update_func(var, rewriter.visit_expr(function))
            module = rewriter.builder_.finalize()
        return module

    return run


@mutator
class _Rewriter(PyExprMutator):
    def __init__(
        self, module: tvm.IRModule, function: relax.Function, panels: Panels, winograd: bool
    ) -> None:
        super().__init__(module)
        self.parameters = set(parameter_values(function))
        self.moved: dict[relax.Var, Moved] = {}
        self.layouts = Layouts(self.builder_)
        self.forms = Forms(self.layouts, panels, winograd)
        wanted = leading_to_convolutions(_bindings(function), self.is_rewritten)
        self.propagation = Propagation(
            self.layouts, self.moved, self.visit_expr, wanted, self.parameters
        )

    def is_rewritten(self, value: relax.Expr) -> bool:
        """Tell whether a value is a convolution with a weight."""
        return _is_convolution(value) and value.args[1] in self.parameters

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Rewrite one binding; what is moved is not emitted until something needs it."""
        moved = None
        if isinstance(binding.value, relax.Call) and binding.var not in self.parameters:
            moved = self.rewrite(binding.var, binding.value)
        if moved is None:
            super().visit_var_binding_(binding)
        elif isinstance(binding.var, relax.DataflowVar):
            self.moved[binding.var] = moved
        else:
            result = self.builder_.emit_output(self.layouts.lay_out(moved))
            self.set_var_remap(binding.var, result)

    def visit_dataflow_var_(self, var: relax.DataflowVar) -> relax.Expr:
        """Return a value laid out as the function that is rewritten has it."""
        if var in self.moved:
            return self.layouts.lay_out(self.moved[var])
        return super().visit_dataflow_var_(var)

    def rewrite(self, var: relax.Var, call: relax.Call) -> Moved | None:
        """Return the result of a call as a moved value, None if the call stays as it is."""
        if not self.is_rewritten(call):
            return self.propagation.rewrite(var, call)
        x, weight = call.args
        picture = self.moved.get(x) or Moved(self.visit_expr(x))
        transposed = call.op.name == _TRANSPOSED
        form = self.forms.convolve_transposed if transposed else self.forms.convolve
        return form(picture, self.visit_expr(weight), describe(call))


def _bindings(function: relax.Function) -> list[tuple[relax.Var, relax.Expr]]:
    return [
        (binding.var, binding.value)
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
    ]


def _is_convolution(value: relax.Expr) -> bool:
    """Tell whether a value is a float32 convolution in the layout that the importer writes."""
    if not isinstance(value, relax.Call) or not isinstance(value.op, tvm.ir.Op):
        return False
    if value.op.name not in _LAYOUTS:
        return False
    (picture, kernel), attrs = _LAYOUTS[value.op.name], value.attrs
    if attrs.kernel_layout != kernel or attrs.data_layout != picture:
        return False
    return attrs.out_layout in ("", picture) and str(value.ty.dtype) == "float32"
