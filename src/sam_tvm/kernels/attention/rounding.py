"""What is stored as bfloat16 since whoever reads it would round it: operands, and results.

Half as much is written and read. Where there is a bias, queries are scaled before they are rounded:
those that come from a product of their own, and not from one with keys and values, stay float32.
"""

from __future__ import annotations

import tvm
from tvm import relax

from sam_tvm.kernels.attention.chains import chains
from sam_tvm.kernels.attention.operands import is_supported
from sam_tvm.kernels.graph.packing import can_be_rounded_ahead, is_worth_packing
from sam_tvm.kernels.graph.readers import Readers

_QUERIES, _BIAS = 0, 3


def rounded_operands(
    readers: Readers, weights: set[relax.Var], module: tvm.IRModule
) -> list[relax.Var]:
    """Return the results of products that attention alone reads.

    Args:
        readers: of the function.
        weights: its variables that depend on parameters alone.
        module: holds the functions that it calls.

    """
    results = (chain.result for chain in chains(readers, weights, module))
    return [var for var in results if _attention_reads(var, readers)]


def rounded_results(readers: Readers, weights: set[relax.Var]) -> set[relax.Var]:
    """Return what products with these weights alone read, from where they can read bfloat16."""

    def is_product(var: relax.Var, reader: relax.Var | None) -> bool:
        call = None if reader is None else readers.values[reader]
        return is_worth_packing(call, weights) and can_be_rounded_ahead(var)

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
        if not is_supported(call):
            return False
        here = {i for i, argument in enumerate(call.args) if argument.same_as(read)}
        places |= here
        scaled |= here & {_QUERIES} if len(call.args) > _BIAS else set()
    return _BIAS not in places and bool(places - scaled)
