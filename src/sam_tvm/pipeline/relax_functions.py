"""Rewriting imported Relax functions: declared names, and large constants as parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.components.base import TensorSpec

# Smaller constants stay in the library: they fold, and they cost nothing there.
LARGE_CONSTANT_BYTES = 1024


@dataclass(frozen=True)
class ImportedFunction:
    """A Relax function ``(inputs..., parameters...) -> tuple`` and its parameters by name."""

    function: relax.Function
    params: dict[str, np.ndarray]


@mutator
class _Rewriter(PyExprMutator):
    """Replaces the inputs, and large constants by variables, one for each distinct content."""

    def __init__(
        self, prefix: str, names: dict[str, str], inputs: dict[relax.Var, relax.Var]
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.prefix = prefix
        self.names = names  # content hash -> name in the exported program
        self.found: dict[str, tuple[relax.Var, str, np.ndarray]] = {}

    def visit_var_(self, var: relax.Var) -> relax.Expr:
        """Replace one variable, if it is an input."""
        return self.inputs[var] if var in self.inputs else super().visit_var_(var)

    def visit_generic_const_(self, constant: tvm.ir.GenericConst) -> relax.Expr:
        """Replace one constant, if it is large."""
        array = constant.value.numpy()
        if array.nbytes < LARGE_CONSTANT_BYTES:
            return constant
        digest = content_hash(array)
        if digest not in self.found:
            name = self.names.get(digest, f"{self.prefix}.constant_{digest[:12]}")
            var = relax.Var(f"c_{len(self.found)}", relax.TensorType(array.shape, array.dtype.name))
            self.found[digest] = (var, name, array)
        return self.found[digest][0]


def content_hash(array: np.ndarray) -> str:
    """Hash of an array's type, shape and bytes."""
    header = f"{array.dtype.name}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()


def _with_declared_axes(function: relax.Function, inputs: Sequence[TensorSpec]) -> relax.Function:
    """The function with torch.export's symbols (s21, ...) renamed to the declared ones (n, B)."""
    renamed: dict[tirx.Var, tirx.Var] = {}
    declared: dict[str, tirx.Var] = {}
    for spec, var in zip(inputs, function.params, strict=False):
        for axis, size in zip(spec.shape, var.ty.shape, strict=True):
            if isinstance(axis, str):
                renamed[size] = declared.setdefault(axis, tirx.Var(axis, "int64"))
    return function.bind_symbolic_vars(renamed) if renamed else function


def _identifier(name: str) -> str:
    """A name that kernels in C can give their parameter: "6drotation" is none."""
    return name if name.isidentifier() else f"_{name}"


def name_parameters(
    function: relax.Function,
    inputs: Sequence[TensorSpec],
    parameters: dict[str, tuple[str, np.ndarray]],
    constants: dict[str, np.ndarray],
    prefix: str,
) -> ImportedFunction:
    """Give a function its declared input names, and exactly the parameters that it uses.

    Args:
        function: as imported, parameters after the inputs.
        inputs: the declared inputs.
        parameters: relax variable name -> (reference name, value).
        constants: reference name -> value of the buffers that the importer bound as constants.
        prefix: for the names of constants that no buffer accounts for (e.g. cached positions).
    """
    function = _with_declared_axes(function, inputs)
    former, weights = function.params[: len(inputs)], function.params[len(inputs) :]
    variables = [
        relax.Var(_identifier(spec.name), var.ty) for spec, var in zip(inputs, former, strict=True)
    ]
    names = {content_hash(value): name for name, value in constants.items()}
    extract = _Rewriter(prefix, names, dict(zip(former, variables, strict=True)))
    body = extract.visit_expr(function.body)
    used = {var.name for var in relax.analysis.free_vars(body)}
    kept = [var for var in weights if var.name in used]
    params = {parameters[var.name][0]: parameters[var.name][1] for var in kept}
    params.update({name: array for _, name, array in extract.found.values()})
    variables += kept + [var for var, _, _ in extract.found.values()]
    rebuilt = relax.Function(variables, body, function.ret_ty, function.is_pure)
    return ImportedFunction(rebuilt.with_attr("num_input", len(inputs)), params)
