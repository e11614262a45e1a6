"""The `grid_sample` PrimFunc: bilinear samples at points, zeros outside of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import divide, remainder
from sam_tvm.kernels.sampling.frame import Task, sampling_function
from sam_tvm.kernels.sampling.picture import (
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

RULE = "points"


def points_function(
    picture: Picture, shapes: Sequence[Sequence[Expr]], sizes: Sequence[Var], unit: VectorUnit
) -> tirx.PrimFunc:
    """Return the scheduled function of a picture, points and the result, all float32.

    Points are (B, 2, P, Q): x and y, -1 and 1 at the outer edges of the picture's first and last
    pixels (torch's `align_corners=False`). The result is (B, P, Q, channels).

    Args:
        picture: where the picture's elements are.
        shapes: of the tensors.
        sizes: symbolic sizes, which are parameters between the inputs and the result.
        unit: the target's vector unit.

    """
    batch, _, *extents = shapes[1]

    def plan(code: Code, flat: Sequence[Var]) -> tuple[Expr, Task]:
        each = code.bind("each", extents[0] * extents[1])
        return batch * each, _Kernel(picture, *flat, unit, each).task

    return sampling_function(shapes, sizes, RULE, plan)


@dataclass(frozen=True)
class _Kernel:
    """Emits one task: a point. `each` is the number of a picture's points."""

    picture: Picture
    pixels: Var
    points: Var
    result: Var
    unit: VectorUnit
    each: Expr

    def task(self, number_of_task: Expr) -> tirx.Stmt:
        """Return the statements of a task."""
        code = Code(Lanes(1))
        image = code.bind("image", divide(number_of_task, self.each))
        point = code.bind("point", image * (2 * self.each) + remainder(number_of_task, self.each))
        columns = self._corners(code, point, self.picture.width)
        rows = self._corners(code, point + self.each, self.picture.height)
        for channels in channel_groups(self.picture.channels, self.unit):
            inner = Code(channels.lanes)
            sampler = Sampler.begin(self.picture, self.pixels, channels, inner)
            sampler.add(inner, image, rows, columns)
            sampler.store(inner, self.result, number_of_task * self.picture.channels)
            code.add(inner.body())
        return code.body()

    def _corners(self, code: Code, coordinate: Expr, size: Expr) -> list[Corner]:
        """Return what a point lies between along an axis; the weight is 0 of what is not there."""
        value = tirx.BufferLoad(self.points, [coordinate])
        at = code.bind("at", ((value + 1.0) * as_number(size) - 1.0) * 0.5)
        # Far outside there is nothing, and no position that an integer could hold.
        at = code.bind("near", tirx.max(tirx.min(at, as_number(size)), number(-2.0)))
        floor = code.bind("floor", tirx.floor(at))
        low = code.bind("low", as_index(floor))
        share = code.bind("share", at - floor)
        corners = []
        for place, weight in ((low, number(1.0) - share), (low + 1, share)):
            is_there = tirx.And(place >= index(0), place < size)
            used = code.bind("used", tirx.Select(is_there, weight, number(0.0)))
            corners.append((code.bind("place", bound(place, size)), used))
        return corners
