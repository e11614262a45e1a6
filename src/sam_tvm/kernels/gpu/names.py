"""Kernels' names, none longer than a file's may be.

FuseOps names a function after all that it joined, 300 characters and more. OpenCL's open
implementation (PoCL) makes a folder of that name, and ends the process where it cannot.
"""

from __future__ import annotations

import hashlib

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.graph.rewriting import rewriting_pass

LONGEST = 120  # characters


def short_names() -> tvm.ir.transform.Pass:
    """Return a pass that renames the functions whose names are too long, and calls of them."""
    rename = rewriting_pass("SamTvmShortNames", _Renamer)
    return tvm.transform.Sequential([rename, relax.transform.DeadCodeElimination()])


def _short(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9]}_{digest}"


@mutator
class _Renamer(PyExprMutator):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.module = module
        self.renamed: dict[str, tvm.ir.GlobalVar] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replace the name of a function that is called."""
        if not any(isinstance(argument, tvm.ir.GlobalVar) for argument in call.args):
            return super().visit_call_(call)
        arguments = [
            self._renamed(argument)
            if isinstance(argument, tvm.ir.GlobalVar)
            else self.visit_expr(argument)
            for argument in call.args
        ]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)

    def _renamed(self, var: tvm.ir.GlobalVar) -> tvm.ir.GlobalVar:
        name = var.name_hint
        if len(name) <= LONGEST or not isinstance(self.module[var], tirx.PrimFunc):
            return var
        if name not in self.renamed:
            # Without the attribute the builder would answer with the same function's old name.
            function = self.module[var].with_attr("global_symbol", _short(name))
            self.renamed[name] = self.builder_.add_func(function, _short(name))
        return self.renamed[name]
