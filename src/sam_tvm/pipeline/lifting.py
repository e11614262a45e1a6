"""What a function computes from its parameters alone, as a function of its own.

That part (weights transposed, split and packed for the kernels) runs once, when the model is
built; its results are the parameters of what is left. Each result is named after its source and a
hash of how it was computed, so that components that share a weight share the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import relax, tirx

from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.pipeline.relax_functions import content_hash

TRANSFORM = "transform"


@dataclass(frozen=True)
class Lifted:
    """A function that takes prepared parameters, and what prepares them.

    Attributes:
        module: the function, and the TIR functions that it calls.
        params: names of its parameters, in order, after its inputs.
        transform: a module whose function `transform` maps the `sources` to a tuple of the
            `results`; None where nothing is computed from parameters alone.
        sources: names of parameters before.
        results: names of parameters made.
    """

    module: tvm.IRModule
    params: tuple[str, ...]
    transform: tvm.IRModule | None
    sources: tuple[str, ...]
    results: tuple[str, ...]


def lift_parameters(module: tvm.IRModule, name: str, params: Sequence[str]) -> Lifted:
    """Take out of a function what depends on its parameters alone.

    Args:
        module: with the Relax function `name`, one dataflow block, whose parameters follow its
            `num_input` inputs.
        name: of the function.
        params: the parameters' names, in order.
    """
    function = relax.transform.CanonicalizeBindings()(module)[name]
    inputs = function.params[: int(function.attrs["num_input"])]
    parameters = dict(zip(function.params[len(inputs) :], params, strict=True))
    known = parameter_values(function)
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    lifted = [binding for binding in bindings if binding.var in known]
    kept = [binding for binding in bindings if binding.var not in known]
    wanted = _wanted(kept, function.body.body, known)
    names = _names(lifted, parameters, module)
    made = {names[var]: var for var in wanted if var not in parameters}
    results = dict(sorted(made.items()))
    originals = {var: label for var, label in parameters.items() if var in wanted}
    main = _remaining(function, inputs, list(originals), wanted, names, results, kept)
    transform, sources = None, ()
    if results:
        used = _roots(results.values(), known)
        sources = {var: label for var, label in parameters.items() if var in used}
        transform = _function_of(list(sources), lifted, list(results.values()))
    return Lifted(
        _with_callees(main, name, module),
        (*originals.values(), *results),
        transform and _with_callees(transform, TRANSFORM, module),
        tuple(sources.values()) if results else (),
        tuple(results),
    )


def _wanted(
    kept: list[relax.Binding], result: relax.Expr, known: dict[relax.Var, frozenset[relax.Var]]
) -> list[relax.Var]:
    """The values that the rest of the function reads, each once, in order of use."""
    used: dict[relax.Var, None] = {}
    for value in [*(_value(binding) for binding in kept), result]:
        used.update(dict.fromkeys(v for v in relax.analysis.free_vars(value) if v in known))
    return list(used)


def _value(binding: relax.Binding) -> relax.Expr:
    return binding.value if isinstance(binding, relax.VarBinding) else binding.input


def _roots(
    values: Sequence[relax.Var], known: dict[relax.Var, frozenset[relax.Var]]
) -> frozenset[relax.Var]:
    return frozenset().union(*(known[var] for var in values))


def _names(
    lifted: list[relax.VarBinding], parameters: dict[relax.Var, str], module: tvm.IRModule
) -> dict[relax.Var, str]:
    """A name for each value: its first source and a hash of the expression that makes it."""
    texts = dict(parameters)
    names = dict(parameters)
    sources = dict(parameters)
    for binding in lifted:
        text = _text(binding.value, texts, module)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        texts[binding.var] = digest
        source = next(sources[v] for v in relax.analysis.free_vars(binding.value))
        sources[binding.var] = source
        names[binding.var] = f"{source}@{digest}"
    return names


def _text(expr: relax.Expr, texts: dict[relax.Var, str], module: tvm.IRModule) -> str:
    """An expression written out, the same for the same computation in any function."""
    if isinstance(expr, relax.Var):
        return texts[expr]
    if isinstance(expr, tvm.ir.Op):
        return expr.name
    if isinstance(expr, tvm.ir.GenericConst):
        return content_hash(expr.value.numpy())  # its text leaves the numbers out
    if isinstance(expr, tvm.ir.GlobalVar):
        # Not its text, which has the names of variables in it.
        return str(tvm_ffi.structural_hash(module[expr].without_attr("global_symbol")))
    if isinstance(expr, relax.Tuple):
        return "(" + ",".join(_text(field, texts, module) for field in expr.fields) + ")"
    if isinstance(expr, relax.TupleGetItem):
        return f"{_text(expr.tuple_value, texts, module)}[{expr.index}]"
    if isinstance(expr, relax.Call):
        arguments = ",".join(_text(argument, texts, module) for argument in expr.args)
        return f"{_text(expr.op, texts, module)}({arguments}){expr.attrs}{expr.ty}"
    return str(expr)


def _remaining(
    function: relax.Function,
    inputs: Sequence[relax.Var],
    originals: list[relax.Var],
    wanted: list[relax.Var],
    names: dict[relax.Var, str],
    results: dict[str, relax.Var],
    kept: list[relax.Binding],
) -> relax.Function:
    """The function without the lifted bindings; `results` are its last parameters."""
    variables = {
        label: relax.Var(f"p_{i}", var.ty) for i, (label, var) in enumerate(results.items())
    }
    # One variable stands for values that are computed alike; the aliases are folded away.
    aliases = [
        relax.VarBinding(var, variables[names[var]]) for var in wanted if names[var] in variables
    ]
    body = relax.SeqExpr([relax.DataflowBlock([*aliases, *kept])], function.body.body)
    params = [*inputs, *originals, *variables.values()]
    return relax.Function(params, body, function.ret_ty, function.is_pure, function.attrs)


def _function_of(
    sources: list[relax.Var], lifted: list[relax.VarBinding], results: list[relax.Var]
) -> relax.Function:
    result = relax.Var("results", relax.TupleType([var.ty for var in results]))
    bindings = [*lifted, relax.VarBinding(result, relax.Tuple(results))]
    body = relax.SeqExpr([relax.DataflowBlock(bindings)], result)
    function = relax.Function(sources, body, result.ty)
    return function.with_attr({"global_symbol": TRANSFORM, "num_input": 0})


def _with_callees(function: relax.Function, name: str, module: tvm.IRModule) -> tvm.IRModule:
    """A module of the function and the TIR functions that it calls."""
    callees = {
        var: callee for var, callee in module.functions_items() if isinstance(callee, tirx.PrimFunc)
    }
    own = tvm.ir.GlobalVar(name)
    whole = tvm.IRModule({**callees, own: relax.utils.copy_with_new_vars(function)})
    passes = [
        relax.transform.CanonicalizeBindings(),
        relax.transform.DeadCodeElimination([name]),
    ]
    return tvm.transform.Sequential(passes)(whole)
