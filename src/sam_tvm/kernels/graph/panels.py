"""Weights in panels: the order in which a product reads them, made once instead of at each call.

A (K, N) matrix becomes T = ceil(N / w) panels of w columns, each with its rows one after another:
float32 [T, K, w]. In bfloat16 two neighbouring rows share a uint32, the even one in the low half:
[T, ceil(K / 2), w]. A convolution's (KH, KW, C, O) weight likewise has panels of w output channels,
[T, KH, KW, C, w]. Columns and rows that are missing are zeros. w follows from the target alone.
Weights of int8 (`quantisation.py`) lie as float32 ones do.

`matmul` and `convolution` say in index arithmetic what a product over panels is; the contraction
rule recognises that form and reads the panels where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, te, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.bfloat16 import dot_pair, pack_pair, rounded, widened
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.target_features import computes_bfloat16, panel_width, vector_unit

WIDENS = "sam_tvm.widens"  # attribute of functions that return bfloat16 as float32
FUSES_ELEMENTWISE = {"op_pattern": 4}  # kOutEWiseFusable: element-wise readers join the product


class UnsupportedPrecisionError(ValueError):
    """The target's CPU cannot multiply in this precision."""


@dataclass(frozen=True)
class Panels:
    """How weights are packed.

    Attributes:
        width: columns of a panel.
        bfloat16: whether two rows are rounded to bfloat16 and share a uint32.
        int8: whether a panel holds int8.
        tiles: whether matrix tiles multiply them (`kernels.amx`).

    """

    width: int
    bfloat16: bool
    int8: bool = False
    tiles: bool = False

    @property
    def dtype(self) -> str:
        """What a panel is made of."""
        if self.int8:
            return "int8"
        return "uint32" if self.bfloat16 else "float32"

    def count(self, columns: int) -> int:
        """Return how many panels hold so many columns."""
        return -(-columns // self.width)

    def rows(self, terms: int) -> int:
        """Return how many rows of a panel hold so many summed elements."""
        return -(-terms // 2) if self.bfloat16 else terms


def panels_for(target: tvm.target.Target | str, precision: str) -> Panels:
    """Return the panels that the kernels of a target read.

    Args:
        target: an LLVM target.
        precision: ``float32`` or ``bfloat16``.

    Raises:
        UnsupportedPrecisionError: unknown, or there are no kernels of it for the target's CPU.

    """
    target = tvm.target.Target(target)
    if precision not in ("float32", "bfloat16"):
        raise UnsupportedPrecisionError(f"unknown precision {precision!r}: float32 or bfloat16")
    bfloat16 = precision == "bfloat16"
    if bfloat16 and not computes_bfloat16(target):
        raise UnsupportedPrecisionError(
            f"bfloat16 needs a CPU with AVX-512, which {target} is not; use float32"
        )
    unit = vector_unit(target)
    return Panels(panel_width(unit), bfloat16, tiles=unit.tiles)


def pack(builder: relax.BlockBuilder, weight: relax.Expr, panels: Panels) -> relax.Expr:
    """Pack a float32 (K, N) matrix of known shape, or one of int8 if the panels hold int8.

    Returns:
        float32 or int8 [T, K, w], or uint32 [T, ceil(K / 2), w].

    """

    def compute(weight: te.Tensor) -> te.Tensor:
        *outer, terms, columns = (int(extent) for extent in weight.shape)
        shape = (panels.count(columns), *outer, panels.rows(terms), panels.width)

        def cell(panel: Var, *point: Var) -> Expr:
            *at, row, lane = point
            column = panel * panels.width + lane

            def read(term: Expr) -> Expr:
                return weight(*at, term, column)

            value = _pair(read, row, terms) if panels.bfloat16 else read(row)
            if columns % panels.width == 0:
                return value
            return tirx.if_then_else(column < columns, value, tirx.const(0, panels.dtype))

        return te.compute(shape, cell, name="panels")

    return builder.emit(builder.call_te(compute, weight, primfunc_name_hint="pack_panels"))


def pack_convolution(builder: relax.BlockBuilder, weight: relax.Expr, panels: Panels) -> relax.Expr:
    """Pack a float32 (*kernel, C, O) weight of known shape, of two or three kernel axes.

    Returns:
        float32 [T, *kernel, C, w] or uint32 [T, *kernel, ceil(C / 2), w].

    """
    return pack(builder, weight, panels)


def _pair(read: Callable[[Expr], Expr], row: Expr, terms: int) -> Expr:
    """Return the pair of rows 2 * row and 2 * row + 1, zero for the latter if there is none."""
    odd = read(row * 2 + 1)
    if terms % 2:
        odd = tirx.if_then_else(row * 2 + 1 < terms, odd, tirx.const(0.0, "float32"))
    return pack_pair(read(row * 2), odd)


def round_operand(builder: relax.BlockBuilder, x: relax.Expr) -> relax.Expr:
    """Round a product's left operand ahead: float32 (..., K) to bfloat16 as uint16 (..., K).

    It joins the function that computes it, which then stores half as much.
    """
    return builder.emit(round_call(builder, x))


def round_call(builder: relax.BlockBuilder, x: relax.Expr) -> relax.Call:
    """Return the call of `round_operand`, for whoever binds it on his own."""

    def compute(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *at: rounded(x(*at)), name="rounded")

    return builder.call_te(compute, x, primfunc_name_hint="round")


def widen_call(builder: relax.BlockBuilder, x: relax.Expr) -> relax.Call:
    """Return the call that makes float32 of uint16 that hold bfloat16.

    A product with a packed weight reads what is widened instead.
    """

    def compute(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *at: widened(x(*at)), name="widened")

    return builder.call_te(compute, x, primfunc_name_hint="widen", primfunc_attrs={WIDENS: True})


def matmul(
    builder: relax.BlockBuilder,
    x: relax.Expr,
    packed: relax.Expr,
    columns: int,
    panels: Panels,
) -> relax.Expr:
    """Multiply by a packed matrix.

    Args:
        builder: where the call is emitted.
        x: float32 (..., K), or uint16 as `round_operand` returns it; the leading dimensions may be
            symbolic.
        packed: what `pack` returned for a (K, columns) matrix.
        columns: N.
        panels: how `packed` was packed.

    Returns:
        float32 (..., columns).

    """

    def compute(x: te.Tensor, packed: te.Tensor) -> te.Tensor:
        *outer, terms = x.shape
        k = te.reduce_axis((0, packed.shape[1]), "k")

        def cell(*point: Var) -> Expr:
            *at, column = point
            weight = packed(column // panels.width, k, column % panels.width)
            return te.sum(_term(lambda i: x(*at, i), weight, k, terms, panels), axis=k)

        return te.compute((*outer, columns), cell, name="matmul")

    call = builder.call_te(
        compute,
        x,
        packed,
        primfunc_name_hint="matmul_panels",
        primfunc_attrs=FUSES_ELEMENTWISE,
    )
    return builder.emit(call)


def convolution(
    builder: relax.BlockBuilder,
    x: relax.Expr,
    packed: relax.Expr,
    channels: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    panels: Panels,
    along: Sequence[int] | None = None,
) -> relax.Expr:
    """Convolve a padded picture, or a volume, with a packed weight.

    Args:
        builder: where the call is emitted.
        x: float32 (B, H, W, C) or (B, D, H, W, C), padding included; all but C may be symbolic.
        packed: what `pack_convolution` returned for a (*kernel, C, channels) weight.
        channels: output channels.
        kernel: rows and columns of the weight, of a volume slices before them.
        strides: for each axis of the picture: how far apart neighbouring outputs are.
        dilation: for each axis of the kernel: how far apart neighbouring taps are.
        panels: how `packed` was packed.
        along: for each axis of the kernel the axis of the picture that it runs along; each along
            its own by default.

    Returns:
        float32 (B, OH, OW, channels) or (B, OD, OH, OW, channels).

    """
    runs_along = range(len(kernel)) if along is None else along

    def compute(x: te.Tensor, packed: te.Tensor) -> te.Tensor:
        batch, *size, terms = x.shape
        reach = [0] * len(size)  # elements from a result's first tap to its last
        for axis, taps, distance in zip(runs_along, kernel, dilation, strict=True):
            reach[axis] += distance * (taps - 1)
        results = [
            (extent - r - 1) // s + 1 for extent, r, s in zip(size, reach, strides, strict=True)
        ]
        names = (*("kz", "ky", "kx")[-len(kernel) :], "c")
        *offsets, c = (
            te.reduce_axis((0, extent), name)
            for extent, name in zip(packed.shape[1:-1], names, strict=True)
        )

        def cell(b: Var, *point: Var) -> Expr:
            *place, channel = point
            at = [position * stride for position, stride in zip(place, strides, strict=True)]
            for axis, offset, distance in zip(runs_along, offsets, dilation, strict=True):
                at[axis] = at[axis] + offset * distance
            weight = packed(channel // panels.width, *offsets, c, channel % panels.width)
            term = _term(lambda i: x(b, *at, i), weight, c, terms, panels)
            return te.sum(term, axis=[*offsets, c])

        return te.compute((batch, *results, channels), cell, name="convolution")

    call = builder.call_te(
        compute,
        x,
        packed,
        primfunc_name_hint="convolution_panels",
        primfunc_attrs=FUSES_ELEMENTWISE,
    )
    return builder.emit(call)


def _term(
    read: Callable[[Expr], Expr], weight: Expr, row: Expr, terms: Expr, panels: Panels
) -> Expr:
    """Return what one row of a panel adds to a sum; `read` returns an element of x."""
    if panels.int8:
        return read(row) * weight.astype("float32")
    if not panels.bfloat16:
        return read(row) * weight
    odd = row * 2 + 1
    if constant_value(terms) % 2:
        odd = tirx.min(odd, terms - 1)  # its weight is zero
    return dot_pair(read(row * 2), read(odd), weight)
