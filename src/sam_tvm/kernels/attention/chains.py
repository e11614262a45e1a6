"""Products with a weight, and what is done to their results row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import relax

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.operators import CALL_TIR, operator_name
from sam_tvm.kernels.graph.parameters import is_product_with
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.neighbours import READS_NEIGHBOURS


@dataclass(frozen=True)
class Chain:
    """A product and what alone reads it, one after another.

    Attributes:
        calls: the product, perhaps a bias that is added, perhaps a rotation.
        bias: its variable, if there is one.
        result: the last call's variable.

    """

    calls: tuple[relax.Call, ...]
    bias: relax.Var | None
    result: relax.Var

    @property
    def product(self) -> relax.Call:
        """The product itself."""
        return self.calls[0]

    @property
    def has_known_rows(self) -> bool:
        """Whether the extents of what is multiplied are numbers."""
        return None not in map(constant_value, self.product.args[0].ty.shape)

    @property
    def is_turned(self) -> bool:
        """Whether a rotation is part of it."""
        return operator_name(self.calls[-1]) == CALL_TIR


def chains(readers: Readers, parameters: set[relax.Var], module: tvm.IRModule) -> Iterator[Chain]:
    """Return all of a function, each as long as it goes.

    Args:
        readers: of the function.
        parameters: its variables that depend on parameters alone.
        module: holds the functions that it calls.

    """
    for var, call in readers.values.items():
        if not is_product_with(call, parameters) or var in parameters:
            continue
        calls, bias, result = [call], None, var
        while (after := readers.only(result)) is not None:
            call = readers.values[after]
            added = _bias(call, result, parameters)
            if added is None and not _turns(call, result, module):
                break
            bias = bias if added is None else added
            calls.append(call)
            result = after
        yield Chain(tuple(calls), bias, result)


def _bias(call: relax.Expr, var: relax.Var, parameters: set[relax.Var]) -> relax.Var | None:
    """Return the bias that a call adds to a variable, if it does that."""
    if operator_name(call) != "relax.add":
        return None
    biases = [a for a in call.args if a in parameters and a.ty.ndim == 1]
    return biases[0] if len(biases) == 1 and any(a.same_as(var) for a in call.args) else None


def _turns(call: relax.Expr, var: relax.Var, module: tvm.IRModule) -> bool:
    if operator_name(call) != CALL_TIR or not call.args[1].fields[0].same_as(var):
        return False
    return READS_NEIGHBOURS in (module[call.args[0]].attrs or {})
