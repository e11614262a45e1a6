"""Module passes out of mutators of Relax functions."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator


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
