"""The symbolic sizes that a function takes beside its tensors, in the order of their names.

`call_te` collects them in a set, and a set of TVM's variables is ordered by their addresses: two
builds of the same module differ, in the order of parameters and in which functions are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax import block_builder, utils
from tvm.relax.transform.legalize_ops import manipulate

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

_NAME = "gen_call_tir_inputs"
_READERS = (utils, block_builder, manipulate)  # each holds it by name


@contextmanager
def sizes_in_order() -> Iterator[None]:
    """Let functions that `call_te` makes take sizes by name."""
    unordered = getattr(utils, _NAME)

    def ordered(*args: Any, **kwargs: Any) -> tuple[tirx.PrimFunc, list[relax.Expr], Any]:
        function, arguments, kind = unordered(*args, **kwargs)
        return *_ordered(function, list(arguments)), kind

    with ExitStack() as stack:
        for module in _READERS:
            stack.enter_context(replaced(module, _NAME, ordered))
        yield


def _ordered(
    function: tirx.PrimFunc, arguments: list[relax.Expr]
) -> tuple[tirx.PrimFunc, list[relax.Expr]]:
    """Return a function and its arguments with those that are sizes, which come last, by name."""
    first = len(arguments)
    while first and tvm.ir.is_prim_expr(arguments[first - 1]):
        first -= 1
    params = list(function.params)
    sizes = range(first, len(arguments))
    order = sorted(sizes, key=lambda place: params[place].name)
    if order == list(sizes):
        return function, arguments
    moved = [params[place] for place in order]
    params[first : len(arguments)] = moved
    changed = tirx.PrimFunc(params, function.body, function.ret_type, function.attrs)
    return changed, arguments[:first] + [arguments[place] for place in order]


PATCH = Patch(
    name="size_order",
    symptom="silent: libraries of the same module differ from process to process",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply=sizes_in_order,
)
