"""Large differences that several read are computed by each of them: no norm stores `x - mean`.

TVM fuses what has one reader. `x - mean` has two, the variance and the result; as `x` itself is in
memory anyway, a subtraction for each is cheaper than storing the difference and reading it twice.
"""

from __future__ import annotations

import math
from collections import defaultdict

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import shape_of
from sam_tvm.kernels.graph.operators import BINARY, operator_name
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

_ENOUGH = 64  # elements of the result for each of the small operand


def recompute_differences() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmRecomputeDifferences", _Rewriter)


@mutator
class _Rewriter(Rewriter):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.cheap: dict[relax.Var, relax.Call] = {}

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look for such differences first."""
        self.cheap = _differences(function)
        return super().visit_function_(function)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Compute what one call reads for it alone."""
        # In order, so that every build is the same.
        read = dict.fromkeys(a for a in call.args if isinstance(a, relax.Var) and a in self.cheap)
        if not read or operator_name(call) not in BINARY:
            return super().visit_call_(call)
        self.changed = True
        own = {}
        for var in read:
            own[var] = self.builder_.emit(super().visit_call_(self.cheap[var]))
        arguments = [own[a] if a in read else self.visit_expr(a) for a in call.args]
        return relax.Call(call.op, arguments, call.attrs, call.ty_args)


def _differences(function: relax.Function) -> dict[relax.Var, relax.Call]:
    """The sums, differences and products to compute again, by the variables they are bound to."""
    if not isinstance(function.body, relax.SeqExpr):
        return {}
    bindings = [binding for block in function.body.blocks for binding in block.bindings]
    values = {b.var: b.value for b in bindings if isinstance(b, relax.VarBinding)}
    readers: defaultdict[relax.Var, list[relax.Expr]] = defaultdict(list)
    for value in values.values():
        for var in relax.analysis.free_vars(value):
            readers[var].append(value)
    found = {}
    for var, value in values.items():
        if operator_name(value) not in BINARY or len(readers[var]) < 2:
            continue
        if not isinstance(var, relax.DataflowVar):
            continue
        if not all(operator_name(reader) in BINARY for reader in readers[var]):
            continue
        if any(_is_beside_small(value, i) and len(readers[value.args[i]]) > 1 for i in (0, 1)):
            found[var] = value
    return found


def _is_beside_small(call: relax.Call, position: int) -> bool:
    """Tell whether an operand is as large as the result, and the other one far smaller."""
    large, small = call.args[position], call.args[1 - position]
    if not isinstance(large, relax.Var):
        return False
    extents = [constant_value(extent) for extent in shape_of(small)]
    whole = [constant_value(extent) for extent in shape_of(call)]
    own = [constant_value(extent) for extent in shape_of(large)]
    if own != whole or len(extents) > len(whole):
        return False
    extents = [1] * (len(whole) - len(extents)) + extents
    spread = [b for a, b in zip(extents, whole, strict=True) if a == 1 and b is not None]
    return math.prod(spread) >= _ENOUGH
