"""The weight of a Winograd convolution: transformed, and packed as the kernel reads it."""

from __future__ import annotations

from collections.abc import Callable

from tvm import relax, te, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import pack_pair
from sam_tvm.kernels.expressions import divide, remainder
from sam_tvm.kernels.winograd.problem import PATCH, POSITIONS


def pack(
    builder: relax.BlockBuilder, weight: relax.Expr, width: int, pairs: bool = False
) -> relax.Expr:
    """Transform and pack a float32 (O, C, 3, 3) or (O, C, slices, 3, 3) weight of known shape.

    Each 3x3 matrix g becomes G g G^T (Lavin & Gray 2015, section 4.1), whose sixteen elements are
    the positions.

    Returns:
        float32 [panels, 16, slices, C, width], or uint32 [panels, 16, slices, C / 2, width] of
        pairs of bfloat16; columns that are missing are zeros.
    """

    def compute(weight: te.Tensor) -> te.Tensor:
        outputs, channels, *slices = (int(extent) for extent in weight.shape[:-2])
        panels = -(-outputs // width)
        words = channels // 2 if pairs else channels
        shape = (panels, POSITIONS, *(slices or [1]), words, width)

        def cell(panel: Var, position: Var, piece: Var, word: Var, lane: Var) -> Expr:
            output = panel * width + lane

            def element(channel: Expr) -> Expr:
                at = (tirx.min(output, outputs - 1), channel, *([piece] if slices else []))

                def row(x: int) -> Expr:
                    return _transformed(lambda y: weight(*at, y, x), divide(position, PATCH))

                return _transformed(row, remainder(position, PATCH))

            value = pack_pair(element(2 * word), element(2 * word + 1)) if pairs else element(word)
            if outputs % width == 0:
                return value
            return tirx.Select(output < outputs, value, tirx.const(0, value.ty.dtype))

        return te.compute(shape, cell, name="panels")

    return builder.emit(builder.call_te(compute, weight, primfunc_name_hint="pack_winograd"))


def _transformed(element: Callable[[int], Expr], position: Expr) -> Expr:
    """Return an element of G g: g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2."""
    first, middle, last = (element(i) for i in range(3))
    both, half = first + last, tirx.const(0.5, "float32")
    inner = tirx.Select(position == 1, (both + middle) * half, (both - middle) * half)
    inner = tirx.Select(position == 0, first, inner)
    return tirx.Select(position == PATCH - 1, last, inner)
