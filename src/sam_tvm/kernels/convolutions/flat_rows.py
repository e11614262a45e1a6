"""Convolutions of many channels over short rows, with all rows of a picture as one.

A task reads a whole panel of the weight for the results that it computes, which lie on one axis of
the picture. Where a panel does not fit the cache and rows are short, most of the time goes into
reading panels. In a padded picture the distance between two taps is the same for every pixel if
rows simply follow each other, so that results can be computed for all pixels of all rows at once;
those at the end of a row, where a kernel would reach into the next one, are left out afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax, te
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph import panels as panel_products
from sam_tvm.kernels.graph.movement import shape_of
from sam_tvm.kernels.graph.panels import Panels

_CACHED = 1 << 17  # elements of a panel that stay in the second-level cache
_LONG = 32  # results of one row that make up for reading a panel
_LEAST_USED = 0.85  # of the results computed


def pays(picture: relax.Expr, weight: relax.Expr, strides: Sequence[int], panels: Panels) -> bool:
    """Tell whether a convolution of a padded picture (B, .., H, W, C) is faster in this form.

    Args:
        picture: channels last; sizes that are not known never pay.
        weight: (*kernel, C, O), not packed.
        strides: of each axis.
        panels: how the weight is going to be packed.

    """
    *kernel, terms, outputs = (int(extent) for extent in shape_of(weight))
    height, width = (constant_value(extent) for extent in shape_of(picture)[-3:-1])
    if height is None or width is None or any(stride != 1 for stride in strides):
        return False
    panel = terms * min(outputs, panels.width)
    for taps in kernel:
        panel *= taps
    results = width - kernel[-1] + 1
    # Rows fill no matrix tiles either, wherever the panel lies.
    is_slow = panels.tiles or panel > _CACHED
    return is_slow and results < _LONG and results >= _LEAST_USED * width


def convolution(
    builder: relax.BlockBuilder,
    x: relax.Expr,
    packed: relax.Expr,
    channels: int,
    kernel: Sequence[int],
    dilation: Sequence[int],
    panels: Panels,
) -> relax.Expr:
    """Convolve as `panels.convolution` does with strides of 1.

    Args:
        builder: where calls are emitted.
        x: float32 (B, H, W, C) or (B, D, H, W, C), padding included; H and W known.
        packed: what `pack_convolution` returned for a (*kernel, C, channels) weight.
        channels: output channels.
        kernel: rows and columns of the weight, of a volume slices before them.
        dilation: as many numbers: how far apart neighbouring taps are.
        panels: how `packed` was packed.

    Returns:
        float32 (B, OH, OW, channels) or (B, OD, OH, OW, channels).

    """
    *outer, height, width, terms = shape_of(x)
    row = int(width)
    flat = builder.emit(relax.op.reshape(x, [*outer, height * width, terms]))
    last = len(kernel) - 2  # both axes of the kernel's rows and columns run along this one
    product = panel_products.convolution(
        builder,
        flat,
        packed,
        channels,
        kernel,
        [1] * (len(kernel) - 1),
        [*dilation[:-2], dilation[-2] * row, dilation[-1]],
        panels,
        along=[*range(last), last, last],
    )
    reach = [d * (taps - 1) for d, taps in zip(dilation, kernel, strict=True)]
    results = int(height) - reach[-2], row - reach[-1]

    def within_rows(flat: te.Tensor) -> te.Tensor:
        def cell(*point: Var) -> Expr:
            *before, y, x, channel = point
            return flat(*before, y * row + x, channel)

        return te.compute((*flat.shape[:-2], *results, channels), cell, name="within_rows")

    return builder.emit(builder.call_te(within_rows, product, primfunc_name_hint="within_rows"))
