"""How a product over packed weights is told from any other: P[n // w, sums.., n % w]."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import constant_value, dtype_of
from sam_tvm.kernels.program import Stage

_WIDEST = 128  # columns of a panel; more would not fit a register tile


@dataclass(frozen=True)
class PanelForm:
    """What is known of an operand that was packed ahead.

    Attributes:
        position: which of the operands it is.
        width: columns of a panel; all of them can be read.
        pairs: whether each element is a pair of bfloat16.
        odd: whether the last pair of Y's elements has one element only.
        int8: whether each element is an int8; of products alone.

    """

    position: int
    width: int
    pairs: bool
    odd: bool
    int8: bool = False


def find_panels(
    stage: Stage, operands: tuple[TensorLoad, ...], analyzer: sym.Analyzer
) -> PanelForm | None:
    """Return the form of the operand that lies in panels, None if none does.

    Args:
        stage: a sum of products.
        operands: what it loads, see `program.contraction_operands`.
        analyzer: knows the ranges of the stage's axes.

    """
    if len(operands) == 4:
        return None
    if len(operands) == 3:
        even, odd, pair = operands
        last_is_odd = last_of_pair_is_missing(even, odd, analyzer)
        if last_is_odd is None or not _is_panel(stage, pair):
            return None
        return PanelForm(2, constant_value(pair.source.shape[-1]), True, last_is_odd)
    for position, load in enumerate(operands):
        if _is_panel(stage, load):
            int8 = dtype_of(load) == "int8"
            if int8 and len(stage.reduced) > 1:
                return None
            return PanelForm(position, constant_value(load.source.shape[-1]), False, False, int8)
    return None


def panel_index(load: TensorLoad) -> Expr:
    """Return the linear index that the load would have in a matrix [sums, columns]."""
    _, *middle, last = load.indices
    count, *extents, width = load.source.shape
    column = last.a if isinstance(last, tirx.FloorMod) else last
    number: Expr = tirx.IntImm("int64", 0)
    for index, extent in zip(middle, extents, strict=True):
        number = number * extent + index
    return number * (count * width) + column


def _is_panel(stage: Stage, load: TensorLoad) -> bool:
    shape, reduced = load.source.shape, stage.reduced
    if len(shape) != len(reduced) + 2 or any(constant_value(extent) is None for extent in shape):
        return False
    first, *middle, last = load.indices
    for index, extent, axis in zip(middle, shape[1:-1], reduced, strict=True):
        whole = constant_value(axis.extent) == constant_value(extent)
        # TVM writes 0 for the variable of an axis of one step.
        if not whole or not (_is(index, axis.var) or constant_value(extent) == 1):
            return False
    width = constant_value(shape[-1])
    if width > _WIDEST:
        return False
    if isinstance(last, tirx.FloorMod) and isinstance(first, tirx.FloorDiv):
        column = last.a
        same = isinstance(column, Var) and _is(first.a, column)
        if not same or constant_value(last.b) != width or constant_value(first.b) != width:
            return False
    else:  # a single panel: TVM knows that n // w is 0
        column = last
        if constant_value(first) != 0 or constant_value(shape[0]) != 1:
            return False
    # The last panel may be wider than what is left of n, which is why it can be read whole.
    return any(_is(column, axis.var) for axis in stage.spatial)


def _is(expr: Expr, var: Var) -> bool:
    return isinstance(expr, Var) and expr.same_as(var)


def last_of_pair_is_missing(
    even: TensorLoad, odd: TensorLoad, analyzer: sym.Analyzer
) -> bool | None:
    """Tell whether `odd`, which follows `even`, stays below the last element; None if neither."""
    if not even.source.same_as(odd.source):
        return None
    pairs = list(zip(even.indices, odd.indices, strict=True))
    different = [(a, b) for a, b in pairs if not analyzer.can_prove_equal(a, b)]
    if not different:
        return True  # a single element
    if len(different) > 1:
        return None
    ((a, b),) = different
    if analyzer.can_prove_equal(a + 1, b):
        return False
    if isinstance(b, tirx.Min) and any(analyzer.can_prove_equal(a + 1, c) for c in (b.a, b.b)):
        return True
    return None
