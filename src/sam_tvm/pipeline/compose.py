"""The end-to-end module: component functions, and functions that call them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.components.base import TensorSpec
from sam_tvm.components.graph import Call, ComposedFunction, Concat, Last, Step, Tokens


@dataclass(frozen=True)
class Part:
    """A component's Relax function, what it calls, and its parameters' names, in order."""

    name: str
    module: tvm.IRModule
    params: Sequence[str]

    @property
    def function(self) -> relax.Function:
        """The component's function."""
        return self.module[self.name]


@mutator
class _Renamer(PyExprMutator):
    """Replaces the functions that a Relax function calls."""

    def __init__(self, callees: Mapping[tvm.ir.GlobalVar, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self.callees = callees

    def visit_global_var_(self, var: tvm.ir.GlobalVar) -> relax.Expr:
        """Replace one callee."""
        return self.callees[var]


def _add(builder: relax.BlockBuilder, part: Part) -> tvm.ir.GlobalVar:
    """Add a component to the module; TIR functions that are alike are added once."""
    callees = {
        var: builder.add_func(function, var.name_hint)
        for var, function in part.module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    function = _Renamer(callees).visit_expr(part.function)
    return builder.add_func(function.with_attr("global_symbol", part.name), part.name)


@dataclass(frozen=True)
class EndToEndModule:
    """One Relax module; `params` lists each public function's parameters in calling order."""

    module: tvm.IRModule
    params: dict[str, list[str]]


class _FunctionBuilder:
    """Emits one composed function."""

    def __init__(
        self,
        builder: relax.BlockBuilder,
        parts: Mapping[str, Part],
        callees: Mapping[str, tvm.ir.GlobalVar],
        function: ComposedFunction,
    ) -> None:
        self.builder, self.parts, self.callees, self.function = builder, parts, callees, function
        self.symbols: dict[str, tirx.Var] = {}
        self.tensors: dict[str, relax.Expr] = {}
        self.params: dict[str, relax.Var] = {}

    def build(self) -> list[str]:
        """Emit the function; returns its parameters' names."""
        inputs = [self._input(spec) for spec in self.function.inputs]
        self._declare_params()
        variables = inputs + list(self.params.values())
        attributes = {"num_input": len(inputs)}
        with self.builder.function(self.function.name, variables, attrs=attributes):
            with self.builder.dataflow():
                for step in self.function.steps:
                    self._emit(step)
                outputs = relax.Tuple([self.tensors[name] for name in self.function.outputs])
                result = self.builder.emit_output(outputs)
            self.builder.emit_func_output(result)
        return list(self.params)

    def _input(self, spec: TensorSpec) -> relax.Var:
        shape = [
            self.symbols.setdefault(d, tirx.Var(d, "int64")) if isinstance(d, str) else d
            for d in spec.shape
        ]
        var = relax.Var(spec.name, relax.TensorType(shape, spec.dtype))
        self.tensors[spec.name] = var
        return var

    def _declare_params(self) -> None:
        """A variable for each distinct parameter of the components called, shared by name."""
        for step in self.function.steps:
            if isinstance(step, Call):
                part = self.parts[step.component]
                weights = part.function.params[-len(part.params) :] if part.params else []
                for name, var in zip(part.params, weights, strict=True):
                    hint = f"w_{len(self.params)}"
                    self.params.setdefault(name, relax.Var(hint, var.ty))

    def _emit(self, step: Step) -> None:
        if isinstance(step, Call):
            arguments = [self.tensors[name] for name in step.inputs]
            arguments += [self.params[name] for name in self.parts[step.component].params]
            result = self.builder.emit(relax.Call(self.callees[step.component], arguments))
            for index, name in enumerate(step.outputs):
                self.tensors[name] = self.builder.emit(relax.TupleGetItem(result, index))
        elif isinstance(step, Tokens):
            self.tensors[step.output] = self._tokens(self.tensors[step.input], step.batch)
        elif isinstance(step, Concat):
            parts = [self.tensors[name] for name in step.inputs]
            self.tensors[step.output] = self.builder.emit(relax.op.concat(parts, axis=step.axis))
        elif isinstance(step, Last):
            self.tensors[step.output] = self._last(self.tensors[step.input])
        else:
            raise TypeError(f"{self.function.name}: unknown step {step!r}")

    def _tokens(self, feature_map: relax.Expr, batch: str) -> relax.Expr:
        _, width, height, columns = (int(d) for d in feature_map.ty.shape)
        length = height * columns
        flat = self.builder.emit(relax.op.reshape(feature_map, (1, width, length)))
        sequence = self.builder.emit(relax.op.permute_dims(flat, [2, 0, 1]))
        shape = (length, self.symbols[batch], width)
        return self.builder.emit(relax.op.broadcast_to(sequence, shape))

    def _last(self, stacked: relax.Expr) -> relax.Expr:
        count = int(stacked.ty.shape[0])
        piece = relax.op.strided_slice(stacked, axes=[0], begin=[count - 1], end=[count])
        return self.builder.emit(relax.op.squeeze(self.builder.emit(piece), axis=[0]))


def compose(functions: Sequence[ComposedFunction], parts: Mapping[str, Part]) -> EndToEndModule:
    """Join components and composed functions into one module.

    Args:
        functions: the composed functions.
        parts: component name -> the component; each becomes a public function too.
    """
    builder = relax.BlockBuilder()
    # Sorted by name, so that equal parts make an equal module.
    callees = {name: _add(builder, parts[name]) for name in sorted(parts)}
    params = {name: list(parts[name].params) for name in sorted(parts)}
    for function in functions:
        params[function.name] = _FunctionBuilder(builder, parts, callees, function).build()
    module = builder.finalize()
    relax.analysis.well_formed(module)
    return EndToEndModule(module, params)
