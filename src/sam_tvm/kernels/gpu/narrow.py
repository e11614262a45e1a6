"""Types that a GPU's language has not, replaced by ones that it has.

Metal and WGSL have no float64; WGSL has no integers of 64 bits and keeps no truths in memory, for
which TVM would take bytes, that WGSL has not either. What is float64 in the models are sums for
means, what is int64 are token ids, labels and counts, what is bool are masks.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.graph.rewriting import rewriting_pass

# By kind of target.
_MISSING = {
    "metal": {"float64": "float32"},
    "webgpu": {"float64": "float32", "int64": "int32", "bool": "int32"},
}

# The operators that name the type of their result, which comes last.
_MAKERS = {
    "relax.astype": relax.op.astype,
    "relax.arange": relax.op.arange,
    "relax.full": relax.op.full,
}
# The operators that compute with truths. They are given some, and what they or a comparison answer
# is converted; FuseOps joins the conversions to them, so that none is kept in memory.
_OF_TRUTHS = frozenset(
    f"relax.{name}"
    for name in (
        "where",
        "logical_not",
        "logical_and",
        "logical_or",
        "logical_xor",
        "bitwise_not",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
    )
)


def narrow_types(target: tvm.target.Target) -> list[tvm.ir.transform.Pass]:
    """Return the pass that replaces the types that a GPU has not; nothing if it has all.

    Inputs of such a type get the narrower one, and so do results. Parameters keep theirs: they are
    converted once, when the model is built.
    """
    types = _MISSING.get(str(target.kind.name))
    if types is None:
        return []
    return [rewriting_pass("SamTvmNarrowTypes", lambda _module: _Writer(types))]


@mutator
class _Writer(PyExprMutator):
    def __init__(self, types: dict[str, str]) -> None:
        super().__init__()
        self.types = types
        self.inputs: dict[relax.Var, relax.Var] = {}
        self.parameters: set[relax.Var] = set()

    def visit_function_(self, function: relax.Function) -> relax.Expr:
        """Give the inputs their types first."""
        count = int((function.attrs or {}).get("num_input", len(function.params)))
        params = [
            self._input(var) if number < count else var
            for number, var in enumerate(function.params)
        ]
        self.parameters.update(var for var in params[count:] if self._narrow(var) is not None)
        body = self.visit_with_new_scope(function.body)
        # The type of the result follows from the body.
        return relax.Function(params, body, None, function.is_pure, function.attrs)

    def visit_var_(self, var: relax.Var) -> relax.Expr:
        """Replace an input by the narrow one, a parameter by what it becomes."""
        if var in self.parameters:
            return self.builder_.emit(relax.op.astype(var, self._narrow(var)))
        return self.inputs[var] if var in self.inputs else super().visit_var_(var)

    def visit_generic_const_(self, constant: tvm.ir.GenericConst) -> relax.Expr:
        """Convert a constant."""
        narrow = self._narrow(constant)
        return constant if narrow is None else relax.const(constant.value.numpy(), narrow)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call: the type that it names, and the truths that it takes and gives."""
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        arguments = [self.visit_expr(argument) for argument in call.args]
        if name in _OF_TRUTHS:
            arguments = [
                self.builder_.emit(relax.op.astype(narrowed, "bool"))
                if self._is_truth(argument)
                else narrowed
                for narrowed, argument in zip(arguments, call.args, strict=True)
            ]
        narrow = self.types.get(str(getattr(call.attrs, "dtype", "")))
        # A number becomes a truth by being compared, and not by being cut.
        if narrow and name in _MAKERS and not (name == "relax.astype" and self._is_truth(call)):
            return _MAKERS[name](*arguments, narrow)
        made = self.builder_.normalize(relax.Call(call.op, arguments, call.attrs, call.ty_args))
        if self._is_truth(made):  # what only moves them gives numbers already
            return relax.op.astype(self.builder_.emit(made), self.types["bool"])
        return made

    def _is_truth(self, value: relax.Expr) -> bool:
        """Whether a value is a tensor of truths, for which another type is to be taken."""
        return self._narrow(value) is not None and str(value.ty.dtype) == "bool"

    def _input(self, var: relax.Var) -> relax.Var:
        narrow = self._narrow(var)
        if narrow is None:
            return var
        self.inputs[var] = relax.Var(var.name, relax.TensorType(var.ty.shape, narrow))
        return self.inputs[var]

    def _narrow(self, value: relax.Expr) -> str | None:
        """The type that a tensor is to have, None if it keeps its own."""
        dtype = value.ty.dtype if isinstance(value.ty, relax.TensorType) else None
        return self.types.get(str(dtype))
