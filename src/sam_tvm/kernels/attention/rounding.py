"""What is stored as bfloat16 since whoever reads it would round it: operands, and results.

Half as much is written and read. Where there is a bias, queries are scaled before they are rounded:
those that come from a product of their own, and not from one with keys and values, stay float32.
"""

from __future__ import annotations

import tvm
from tvm import relax

from sam_tvm.kernels.attention.operands import OPERATORS, is_supported
from sam_tvm.kernels.attention.readers import Readers
from sam_tvm.kernels.attention.views import name_of
from sam_tvm.kernels.neighbours import READS_NEIGHBOURS
from sam_tvm.kernels.packing import can_be_rounded_ahead, is_product_with_weight
from sam_tvm.kernels.parameters import parameter_values

_QUERIES, _BIAS = 0, 3


def rounded_operands(readers: Readers, module: tvm.IRModule) -> set[relax.Var]:
    """Return the results of products that attention alone reads."""
    return {
        var
        for var in readers.values
        if _is_product(var, readers, module) and _attention_reads(var, readers)
    }


def rounded_results(readers: Readers, function: relax.Function) -> set[relax.Var]:
    """Return what products with a weight alone read, from where they can read bfloat16."""
    if "num_input" not in (function.attrs or {}):
        return set()
    weights = set(parameter_values(function))

    def is_product(var: relax.Var, reader: relax.Var | None) -> bool:
        call = None if reader is None else readers.values[reader]
        return is_product_with_weight(call, weights) and can_be_rounded_ahead(var)

    return {
        var
        for var in readers.values
        if readers.of(var) and all(is_product(*end) for end in readers.ends(var))
    }


def _attention_reads(var: relax.Var, readers: Readers) -> bool:
    places: set[int] = set()
    scaled: set[int] = set()
    for read, reader in readers.ends(var):
        call = None if reader is None else readers.values[reader]
        if name_of(call) not in OPERATORS or not is_supported(call):
            return False
        here = {i for i, argument in enumerate(call.args) if argument.same_as(read)}
        places |= here
        scaled |= here & {_QUERIES} if len(call.args) > _BIAS else set()
    return _BIAS not in places and bool(places - scaled)


def _is_product(var: relax.Var, readers: Readers, module: tvm.IRModule) -> bool:
    """Tell whether a variable is a product with a matrix, with what FuseOps lets join it."""
    value = readers.values[var]
    if name_of(value) == "relax.matmul":
        return value.args[1].ty.ndim == 2
    if name_of(value) == "relax.add":
        rank = var.ty.ndim
        joined = [a for a in value.args if isinstance(a, relax.Var) and a.ty.ndim == rank]
    elif name_of(value) == "relax.call_tir":
        attributes = module[value.args[0]].attrs or {}
        joined = [value.args[1].fields[0]] if READS_NEIGHBOURS in attributes else []
    else:
        return False
    if len(joined) != 1 or len(readers.of(joined[0])) != 1:
        return False
    (before,) = joined
    return before in readers.values and _is_product(before, readers, module)
