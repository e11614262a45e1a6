"""The call that the importer leaves for a gathered product, and its sizes."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from sam_tvm.kernels.gathered.problem import Sizes
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.patches.packed_functions import GATHERED_PRODUCT

_ARGUMENTS = 6  # without `start`


def is_gathered_product(call: relax.Expr) -> bool:
    """Tell whether an expression is such a call."""
    if operator_name(call) != "relax.call_dps_packed":
        return False
    function = call.args[0]
    return isinstance(function, relax.ExternFunc) and function.global_symbol == GATHERED_PRODUCT


def sizes_of(tensors: Sequence[relax.Expr]) -> Sizes:
    """The sizes, from the call's tensors: x, table, weight, bias, columns, offsets and start."""
    _, table, weight, _, columns = (tensor.ty.shape for tensor in tensors[:5])
    weights, taps, terms, outputs = (int(extent) for extent in weight)
    return Sizes(
        table_columns=int(table[1]),
        groups=int(columns[0]),
        weights=weights,
        taps=taps,
        terms=terms,
        columns=outputs,
        has_start=len(tensors) > _ARGUMENTS,
    )
