"""The `roi_align` PrimFunc: a box's bins, each the mean of bilinear samples (He et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import divide, remainder
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.sampling.frame import Task, sampling_function
from sam_tvm.kernels.sampling.picture import (
    Channels,
    Corner,
    Picture,
    Sampler,
    as_index,
    as_number,
    bound,
    channel_groups,
    number,
)
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.vectors import Code, Lanes, index

RULE = "regions"
_BOX = 5  # numbers of a box: its picture, left, top, right, bottom


@dataclass(frozen=True)
class Regions:
    """What a kernel is made for.

    Attributes:
        rows, columns: bins of a box.
        scale: from the boxes' coordinates to pixels.
        samples: of a bin along each axis; 0 for as many as it has pixels, rounded up.

    """

    rows: int
    columns: int
    scale: float
    samples: int


def regions_function(
    regions: Regions,
    picture: Picture,
    shapes: Sequence[Sequence[Expr]],
    sizes: Sequence[Var],
    unit: VectorUnit,
) -> tirx.PrimFunc:
    """Return the scheduled function of a picture, boxes and the result, all float32.

    Boxes are (K, 5), the result (K, rows, columns, channels). As in torchvision's kernel without
    `aligned`, no box is smaller than a pixel, and samples further outside than one count as 0.

    Args:
        regions: what to compute.
        picture: where the picture's elements are.
        shapes: of the tensors.
        sizes: symbolic sizes, which are parameters between the inputs and the result.
        unit: the target's vector unit.

    """

    def plan(_code: Code, flat: Sequence[Var]) -> tuple[Expr, Task]:
        return shapes[1][0] * regions.rows, _Kernel(regions, picture, *flat, unit).task

    return sampling_function(shapes, sizes, RULE, plan)


@dataclass(frozen=True)
class _Side:
    """One axis of a box: where it begins, how long a bin is, and the samples in a bin."""

    start: Expr
    bin: Expr
    samples: Expr
    size: Expr

    def corners(self, code: Code, number_of_bin: Expr, sample: Expr) -> list[Corner]:
        """Return what a sample lies between; the weights are 0 where it is too far outside."""
        fraction = (as_number(sample) + 0.5) / as_number(self.samples)
        at = code.bind("at", self.start + (as_number(number_of_bin) + fraction) * self.bin)
        size = as_number(self.size)
        is_used = tirx.And(at >= number(-1.0), at <= size)
        used = code.bind("used", tirx.Select(is_used, number(1.0), number(0.0)))
        inside = code.bind("inside", tirx.max(tirx.min(at, size - 1.0), number(0.0)))
        low = code.bind("low", as_index(inside))
        high = code.bind("high", bound(low + 1, self.size))
        share = code.bind("share", inside - as_number(low))
        return [(low, (number(1.0) - share) * used), (high, share * used)]


@dataclass(frozen=True)
class _Kernel:
    """Emits one task: a row of bins of a box."""

    regions: Regions
    picture: Picture
    pixels: Var
    boxes: Var
    result: Var
    unit: VectorUnit

    def task(self, number_of_task: Expr) -> tirx.Stmt:
        """Return the statements of a task."""
        regions, code = self.regions, Code(Lanes(1))
        box = code.bind("box", divide(number_of_task, regions.rows))
        row = code.bind("row", remainder(number_of_task, regions.rows))
        image = code.bind("image", as_index(self._read(box, 0)))
        rows = self._side(code, box, 2, regions.rows, self.picture.height)
        columns = self._side(code, box, 1, regions.columns, self.picture.width)
        groups = list(channel_groups(self.picture.channels, self.unit))
        start = code.bind("row_start", number_of_task * (regions.columns * self.picture.channels))

        def one_bin(column: Expr) -> tirx.Stmt:
            at = start + column * self.picture.channels
            bins = [self._bin(c, image, (rows, row), (columns, column), at) for c in groups]
            return tirx.SeqStmt(bins) if len(bins) > 1 else bins[0]

        code.add(loop(index(regions.columns), one_bin, "column"))
        return code.body()

    def _read(self, box: Expr, which: int) -> Expr:
        return tirx.BufferLoad(self.boxes, [box * _BOX + which])

    def _side(self, code: Code, box: Expr, first: int, bins: int, size: Expr) -> _Side:
        """Compute a box's axis from its coordinates `first` and `first + 2`."""
        scale = number(self.regions.scale)
        start = code.bind("side_start", self._read(box, first) * scale)
        length = tirx.max(self._read(box, first + 2) * scale - start, number(1.0))
        size_of_bin = code.bind("bin", length / number(float(bins)))
        samples = self.regions.samples or as_index(tirx.ceil(size_of_bin))
        return _Side(start, size_of_bin, code.bind("samples", samples), size)

    def _bin(
        self,
        channels: Channels,
        image: Expr,
        rows: tuple[_Side, Expr],
        columns: tuple[_Side, Expr],
        at: Expr,
    ) -> tirx.Stmt:
        """Return what computes some channels of a bin.

        Args:
            channels: which.
            image: the box's picture.
            rows: the box from top to bottom, and the bin's number there.
            columns: the same from left to right.
            at: where the bin's first channel is stored.
        """
        code = Code(channels.lanes)
        sampler = Sampler.begin(self.picture, self.pixels, channels, code)
        (vertical, row), (horizontal, column) = rows, columns

        def line(i: Expr) -> tirx.Stmt:
            outer = Code(channels.lanes)
            between = vertical.corners(outer, row, i)

            def sample(j: Expr) -> tirx.Stmt:
                inner = Code(channels.lanes)
                sampler.add(inner, image, between, horizontal.corners(inner, column, j))
                return inner.body()

            outer.add(loop(horizontal.samples, sample, "j"))
            return outer.body()

        code.add(loop(vertical.samples, line, "i"))
        count = as_number(vertical.samples * horizontal.samples)
        factor = code.name("factor", channels.lanes.splat(number(1.0) / count))
        for register in sampler.sums:
            code.set(register, code.get(register) * factor)
        sampler.store(code, self.result, at)
        return code.body()
