"""Convolutions as products over the channels of a picture whose channels lie side by side.

Each form takes a picture as a `Moved` value in the order (batch, channels, rows, columns), or a
volume as (batch, channels, slices, rows, columns), and returns one. What it does to the weight are
Relax operators on the weight alone, which run once, when a model is built. Products are plain
`matmul`s, for the pass that packs weights to find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import relax
from tvm.ir import Expr

from sam_tvm.kernels import winograd
from sam_tvm.kernels.convolutions import flat_rows
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph import panels
from sam_tvm.kernels.graph.movement import ONE, Layouts, Moved, shape_of, size_of
from sam_tvm.kernels.graph.panels import Panels

Extents = tuple[int, ...]
_MOST_GROWTH = 2  # of a weight that is rearranged; beyond it no lifting, see `parameters.py`


@dataclass(frozen=True)
class Convolution:
    """What a convolution does to the spatial axes, each tuple in their order: (rows, columns).

    Attributes:
        kernel, strides, dilation: in elements.
        before, after: the padding.
        extra: rows and columns that a transposed convolution adds at the end.
        groups: of channels.

    """

    kernel: Extents
    strides: Extents
    dilation: Extents
    before: Extents
    after: Extents
    extra: Extents
    groups: int

    @property
    def is_padded(self) -> bool:
        """Whether there is any padding."""
        return any(self.before) or any(self.after)


def describe(call: relax.Call) -> Convolution:
    """Read the attributes of a `conv2d`, `conv3d` or `conv2d_transpose`."""
    attrs = call.attrs
    kernel = list(call.args[1].ty.shape)[2:]
    axes, padding = len(kernel), list(attrs.padding)
    extra = getattr(attrs, "output_padding", None)
    if extra is None:
        extra = [0] * axes
    extents = (kernel, attrs.strides, attrs.dilation, padding[:axes], padding[axes:], extra)
    return Convolution(
        *(tuple(int(value) for value in values) for values in extents), int(attrs.groups)
    )


class Forms:
    """Emits convolutions.

    Args:
        layouts: emits what pictures are moved by.
        panels: how the target's kernels want their weights.
        winograd: whether `winograd.place` follows, for convolutions that are left to it.

    """

    def __init__(self, layouts: Layouts, panels: Panels, winograd: bool) -> None:
        self._layouts, self._panels, self._winograd = layouts, panels, winograd
        self._builder = layouts.builder

    def convolve(self, x: Moved, weight: relax.Expr, how: Convolution) -> Moved | None:
        """Return a convolution of x with an (O, I, *kernel) weight; None for no form."""
        size = _known(x.shape[2:])
        if how.groups != 1:
            return None
        axes = len(how.kernel)
        if not how.is_padded and how.dilation == (1,) * axes:
            if size == how.kernel:
                return self._whole(x, weight)
            if how.kernel == (1,) * axes:
                return self._pointwise(x, weight, how.strides)
            if size is not None and how.kernel == how.strides and axes == 2:
                return self._patches(x, weight, size)
        if not self._fill_panels(int(shape_of(weight)[0])):
            return None
        picture = self._channels_last(x)
        if self._winograd and how.strides == how.dilation == (1,) * axes:
            minimal = winograd.convolve(
                picture, weight, how.before, how.after, pairs=self._panels.bfloat16
            )
            if minimal is not None:
                return _channels_first(self._emit(minimal))
        last = self._permute(weight, [*range(2, axes + 2), 1, 0])
        picture = self._pad(picture, how.before, how.after)
        return _channels_first(self._spatial(picture, last, how.strides, how.dilation))

    def convolve_transposed(self, x: Moved, weight: relax.Expr, how: Convolution) -> Moved | None:
        """Return a transposed convolution with an (I, O, rows, columns) weight, or None."""
        size = _known(x.shape[2:])
        if how.groups != 1 or how.dilation != (1, 1) or size is None:
            return None
        if how.kernel == how.strides and not how.is_padded and how.extra == (0, 0):
            inputs, outputs, rows, columns = (int(extent) for extent in shape_of(weight))
            matrix = self._permute(weight, [0, 2, 3, 1])
            matrix = self._reshape(matrix, [inputs, rows * columns * outputs])
            product = self._emit(relax.op.matmul(self._channels_last(x), matrix))
            return _channels_first(_depth_to_space(product, how.strides))
        return self._phases(x, weight, how, size)

    # -- forms --------------------------------------------------------------------------------

    def _pointwise(self, x: Moved, weight: relax.Expr, strides: Extents) -> Moved:
        """A kernel of one element: a product over the channels of each pixel."""
        pixels = self._channels_last(x)
        if any(stride != 1 for stride in strides):
            axes = list(range(1, len(strides) + 1))
            begin, end = [0] * len(axes), list(shape_of(pixels)[1:-1])
            pixels = self._emit(relax.op.strided_slice(pixels, axes, begin, end, list(strides)))
        return _channels_first(self._emit(relax.op.matmul(pixels, self._as_matrix(weight))))

    def _whole(self, x: Moved, weight: relax.Expr) -> Moved:
        """A kernel as large as the picture: a product over all its elements."""
        if x.steps:  # with channels last it may lie as it is
            channels_last = [0, *range(2, len(x.shape)), 1]
            x, weight = x.permuted(channels_last), self._permute(weight, channels_last)
        matrix = self._as_matrix(weight)
        batch, (terms, outputs) = x.shape[0], shape_of(matrix)
        flat = self._layouts.lay_out(x.reshaped([batch, terms]))
        product = Moved(self._emit(relax.op.matmul(flat, matrix)))
        return product.reshaped([batch, outputs, *[ONE] * (len(x.shape) - 2)])

    def _patches(self, x: Moved, weight: relax.Expr, size: tuple[int, int]) -> Moved:
        """Steps as long as the kernel: a product over the elements of each patch."""
        _, channels, rows, columns = (int(extent) for extent in shape_of(weight))
        height, width = size[0] // rows, size[1] // columns
        batch = x.shape[0]
        if size != (height * rows, width * columns):
            end = [height * rows, width * columns]
            x = Moved(self._layouts.lay_out(x))
            x = Moved(self._emit(relax.op.strided_slice(x.base, [2, 3], [0, 0], end)))
        # Whichever order of a patch's elements leaves more of them where they lie.
        inside = (3, 5, 1) if x.steps else (1, 3, 5)
        order = [0, *(axis if axis == 1 else (axis + 1) // 2 for axis in inside)]
        matrix = self._as_matrix(self._permute(weight, order))
        split = [batch, *map(size_of, (channels, height, rows, width, columns))]
        patches = x.reshaped(split).permuted([0, 2, 4, *inside])
        patches = patches.reshaped([batch, split[2], split[4], shape_of(matrix)[0]])
        product = relax.op.matmul(self._layouts.lay_out(patches), matrix)
        return _channels_first(self._emit(product))

    def _phases(
        self, x: Moved, weight: relax.Expr, how: Convolution, size: tuple[int, int]
    ) -> Moved | None:
        """Any transposed convolution: one convolution makes the results of all phases.

        Output f (counted from before the cut by the padding) is of phase f % stride; it sums, over
        taps t, x[f // stride - t] * weight[f % stride + stride * t].
        """
        inputs, outputs, *kernel = (int(extent) for extent in shape_of(weight))
        steps = how.strides
        taps = [-(-k // s) for k, s in zip(kernel, steps, strict=True)]
        whole = [t * s for t, s in zip(taps, steps, strict=True)]
        channels = steps[0] * steps[1] * outputs
        if whole[0] * whole[1] > _MOST_GROWTH * kernel[0] * kernel[1]:
            return None
        if not self._fill_panels(channels):
            return None
        spans = [_Span.of(how, axis, size[axis], taps[axis]) for axis in (0, 1)]
        if any(span.before < 0 or span.after < 0 for span in spans):
            return None
        missing = [n - k for n, k in zip(whole, kernel, strict=True)]
        phases = self._emit(relax.op.nn.pad(weight, [0, 0, 0, 0, 0, missing[0], 0, missing[1]]))
        phases = self._reshape(phases, [inputs, outputs, taps[0], steps[0], taps[1], steps[1]])
        for axis in (2, 4):
            phases = self._reversed(phases, axis)
        phases = self._permute(phases, [2, 4, 0, 3, 5, 1])
        phases = self._reshape(phases, [*taps, inputs, channels])
        before, after = zip(*((span.before, span.after) for span in spans), strict=True)
        picture = self._pad(self._channels_last(x), before, after)
        result = _depth_to_space(self._spatial(picture, phases, (1, 1), (1, 1)), steps)
        begin = [span.begin for span in spans]
        end = [span.begin + span.length for span in spans]
        if begin != [0, 0] or end != [int(extent) for extent in result.shape[1:3]]:
            laid_out = self._layouts.lay_out(result)
            result = Moved(self._emit(relax.op.strided_slice(laid_out, [1, 2], begin, end)))
        return _channels_first(result)

    # -- steps --------------------------------------------------------------------------------

    def _spatial(
        self,
        picture: relax.Expr,
        weight: relax.Expr,
        strides: Extents,
        dilation: Extents,
    ) -> relax.Expr:
        """A convolution of a padded picture, channels last, with a (*kernel, I, O) weight."""
        *kernel, _, outputs = (int(extent) for extent in shape_of(weight))
        packed = panels.pack_convolution(self._builder, weight, self._panels)
        if flat_rows.pays(picture, weight, strides, self._panels):
            return flat_rows.convolution(
                self._builder, picture, packed, outputs, kernel, dilation, self._panels
            )
        return panels.convolution(
            self._builder,
            picture,
            packed,
            outputs,
            kernel,
            strides,
            dilation,
            self._panels,
        )

    def _fill_panels(self, outputs: int) -> bool:
        """Whether panels of so many columns are not mostly padding."""
        filled = self._panels.count(outputs) * self._panels.width
        return filled <= _MOST_GROWTH * outputs

    def _pad(self, picture: relax.Expr, before: Extents, after: Extents) -> relax.Expr:
        if not any(before) and not any(after):
            return picture
        widths = [width for pair in zip(before, after, strict=True) for width in pair]
        return self._emit(relax.op.nn.pad(picture, [0, 0, *widths, 0, 0]))

    def _channels_last(self, x: Moved) -> relax.Expr:
        return self._layouts.lay_out(x.permuted([0, *range(2, len(x.shape)), 1]))

    def _as_matrix(self, weight: relax.Expr) -> relax.Expr:
        """Return (I * rows * columns, O) for (O, I, rows, columns), or as the axes are ordered."""
        outputs, *others = (int(extent) for extent in shape_of(weight))
        return self._permute(self._reshape(weight, [outputs, math.prod(others)]), [1, 0])

    def _reshape(self, value: relax.Expr, shape: list[int]) -> relax.Expr:
        return self._emit(relax.op.reshape(value, shape))

    def _permute(self, value: relax.Expr, axes: list[int]) -> relax.Expr:
        return self._emit(relax.op.permute_dims(value, axes))

    def _reversed(self, value: relax.Expr, axis: int) -> relax.Expr:
        """Return the value with the few elements of an axis in reverse order.

        Not by `flip`: TVM 0.27 divides positions that fall wrongly, `(7 - i) // 2` for one.
        """
        last = int(shape_of(value)[axis]) - 1
        parts = [relax.op.strided_slice(value, [axis], [i], [i + 1]) for i in range(last, -1, -1)]
        return self._emit(relax.op.concat([self._emit(part) for part in parts], axis))

    def _emit(self, value: relax.Expr) -> relax.Expr:
        return self._builder.emit(value)


@dataclass(frozen=True)
class _Span:
    """One axis of a transposed convolution.

    Attributes:
        before, after: padding of the picture, for a convolution that makes every phase.
        begin, length: what is kept of the phases put together.

    """

    before: int
    after: int
    begin: int
    length: int

    @staticmethod
    def of(how: Convolution, axis: int, size: int, taps: int) -> _Span:
        stride, cut = how.strides[axis], how.before[axis]
        whole = (size - 1) * stride + how.kernel[axis]
        length = whole - cut - how.after[axis] + how.extra[axis]
        first, last = cut // stride, (cut + length - 1) // stride
        return _Span(taps - 1 - first, last - (size - 1), cut - first * stride, length)


def _depth_to_space(columns: relax.Expr, steps: tuple[int, int]) -> Moved:
    """Return (B, H * rows, W * columns, O) for (B, H, W, rows * columns * O)."""
    batch, height, width, channels = shape_of(columns)
    outputs = int(channels) // (steps[0] * steps[1])
    split = [batch, height, width, *map(size_of, (*steps, outputs))]
    joined = [batch, height * steps[0], width * steps[1], split[-1]]
    return Moved(columns).reshaped(split).permuted([0, 1, 3, 2, 4, 5]).reshaped(joined)


def _channels_first(x: relax.Expr | Moved) -> Moved:
    moved = x if isinstance(x, Moved) else Moved(x)
    last = len(moved.shape) - 1
    return moved.permuted([0, last, *range(1, last)])


def _known(extents: tuple[Expr, ...]) -> Extents | None:
    values = tuple(constant_value(extent) for extent in extents)
    return None if None in values else values
