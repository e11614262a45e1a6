"""Module passes out of mutators of Relax functions, and out of edits of TIR functions' nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator

from sam_tvm.kernels.graph.parameters import functions_with_parameters


def rewriting_pass(
    name: str, make: Callable[[tvm.IRModule], PyExprMutator]
) -> tvm.ir.transform.Pass:
    """Return a pass that lets one mutator visit every Relax function of a module.

    Args:
        name: of the pass.
        make: returns the mutator for a module; functions that it adds stay in the result.

    """

    @tvm.transform.module_pass(opt_level=0, name=name)
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        rewriter = make(module)
        for var, function in module.functions_items():
            if isinstance(function, relax.Function):
                rewriter.builder_.update_func(var, rewriter.visit_expr(function))
        return rewriter.builder_.finalize()

    return run


class Rewriter(PyExprMutator):
    """A mutator that looks through variables, and tells whether it changed anything."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.changed = False

    def value(self, expr: relax.Expr) -> relax.Expr | None:
        """Return what a variable is bound to, if anything; any other expression itself."""
        return self.lookup_binding(expr) if isinstance(expr, relax.Var) else expr


class Replacer(Rewriter):
    """A mutator that replaces values which it finds by looking at the whole function first."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._found: Mapping[relax.Var, Any] = {}

    def find(self, function: relax.Function) -> Mapping[relax.Var, Any]:
        """Return what is known of each value that is replaced, by its variable."""
        raise NotImplementedError

    def replacement(self, value: relax.Expr, found: Any) -> relax.Expr:
        """Return what takes a value's place, given what was found out about it.

        It may be a variable that has been emitted already.
        """
        raise NotImplementedError

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look at the function before it is rewritten."""
        self._found = self.find(function)
        self.changed = bool(self._found)
        return super().visit_function_(function)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Rewrite one binding, if its value was found."""
        if binding.var not in self._found:
            super().visit_var_binding_(binding)
            return
        value = self.replacement(binding.value, self._found[binding.var])
        if not isinstance(binding.var, relax.DataflowVar):
            value = self.builder_.emit_output(value)
        elif not isinstance(value, relax.Var):
            value = self.builder_.emit(value)
        self.set_var_remap(binding.var, value)


def parameter_rewriting_pass(
    name: str, make: Callable[[tvm.IRModule], Rewriter]
) -> tvm.ir.transform.Pass:
    """Return a pass over the Relax functions that say in `num_input` where parameters begin.

    Args:
        name: of the pass.
        make: returns the mutator for one function of a module; if it is `changed` afterwards, the
            function is replaced, without what it no longer uses.

    """

    @tvm.transform.module_pass(opt_level=0, name=name)
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in functions_with_parameters(module):
            rewriter = make(module)
            result = rewriter.visit_expr(function)
            if rewriter.changed:
                rewriter.builder_.update_func(var, relax.analysis.remove_all_unused(result))
                module = rewriter.builder_.finalize()
        return module

    return run


def editing_pass(name: str, kind: type, edit: Callable[[Any], Any]) -> tvm.ir.transform.Pass:
    """Return a pass that replaces each node of a kind in the body of every PrimFunc.

    Args:
        name: of the pass.
        kind: of the nodes.
        edit: returns what takes a node's place, or the node.

    """

    @tvm.transform.module_pass(opt_level=0, name=name)
    def run(module: tvm.IRModule, _context: tvm.transform.PassContext) -> tvm.IRModule:
        for var, function in module.functions_items():
            if isinstance(function, tirx.PrimFunc):
                body = tvm_ffi.structural_map(function.body, (kind, edit))
                module[var] = function.with_body(body)
        return module

    return run
