"""Rewriting imported Relax functions: parameters by name, large constants as parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

# Smaller constants stay in the library: they fold, and they cost nothing there.
LARGE_CONSTANT_BYTES = 1024


@dataclass(frozen=True)
class ImportedFunction:
    """A Relax function ``(inputs..., parameters...) -> tuple`` and its parameters by name."""

    function: relax.Function
    params: dict[str, np.ndarray]


@mutator
class _ConstantsToParameters(PyExprMutator):
    """Replaces large constants by variables, one for each distinct content."""

    def __init__(self, prefix: str, names: dict[str, str]) -> None:
        super().__init__()
        self.prefix = prefix
        self.names = names  # content hash -> name in the exported program
        self.found: dict[str, tuple[relax.Var, str, np.ndarray]] = {}

    def visit_constant_(self, constant: relax.Constant) -> relax.Expr:
        """Replace one constant, if it is large."""
        array = constant.data.numpy()
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


def name_parameters(
    function: relax.Function,
    num_inputs: int,
    parameters: dict[str, tuple[str, np.ndarray]],
    constants: dict[str, np.ndarray],
    prefix: str,
) -> ImportedFunction:
    """Give a function exactly the parameters it uses, known by their reference names.

    Args:
        function: as imported, parameters after the inputs.
        num_inputs: how many leading parameters are inputs.
        parameters: relax variable name -> (reference name, value).
        constants: reference name -> value of the buffers that the importer bound as constants.
        prefix: for the names of constants that no buffer accounts for (e.g. cached positions).
    """
    names = {content_hash(value): name for name, value in constants.items()}
    extract = _ConstantsToParameters(prefix, names)
    body = extract.visit_expr(function.body)
    inputs, weights = list(function.params[:num_inputs]), list(function.params[num_inputs:])
    used = {var.name for var in relax.analysis.free_vars(body)}
    kept = [var for var in weights if var.name in used]
    params = {parameters[var.name][0]: parameters[var.name][1] for var in kept}
    params.update({name: array for _, name, array in extract.found.values()})
    variables = kept + [var for var, _, _ in extract.found.values()]
    rebuilt = relax.Function(inputs + variables, body, function.ret_ty, function.is_pure)
    return ImportedFunction(rebuilt.with_attr("num_input", num_inputs), params)
