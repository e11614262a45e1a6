"""The summed axes of a contraction: their flat position, and the passes that a sum is cut into."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    divide,
    divide_up,
    integer,
    product,
    remainder,
    substitute,
)
from sam_tvm.kernels.loops import UNROLLED, nest, sequence, unrolled
from sam_tvm.kernels.program import Axis


def flat_position(axes: tuple[Axis, ...] | list[Axis]) -> Expr:
    """Return the number of the current point of the axes, the last one running fastest."""
    number: Expr = integer(0, "int64")
    for axis in axes:
        number = number * axis.extent + axis.var
    return number


class SumPasses:
    """A sum cut into passes of about `longest` points, each added up from zero.

    Short sums that are added up err less than one long sum. A pass is some steps of one axis and
    all of the axes inside it.
    """

    def __init__(self, axes: tuple[Axis, ...], longest: int) -> None:
        inner = 1
        for position in reversed(range(len(axes))):
            extent = constant_value(axes[position].extent)
            if extent is None or inner * extent > longest or position == 0:
                break
            inner *= extent
        self._outer, self._cut, self._inner = (
            axes[:position],
            axes[position],
            axes[position + 1 :],
        )
        if extent is None:
            self._steps = max(1, longest // inner)
        else:
            cuts = -(-inner * extent // longest)
            self._steps = -(-extent // cuts)
            # Passes of whole written-out steps, if the sum has them.
            if not axes[position + 1 :] and extent % UNROLLED == 0:
                self._steps = -(-self._steps // UNROLLED) * UNROLLED
        self._cuts = divide_up(self._cut.extent, self._steps)
        self.count = product([*(axis.extent for axis in self._outer), self._cuts])

    def steps(self, begin: Expr, count: Expr) -> tuple[Expr, Expr]:
        """Return the first step of successive passes of a sum over one axis, and their number."""
        first = begin * self._steps
        return first, tirx.min(count * self._steps, self._cut.extent - first)

    def body(self, number: Expr, step: tirx.Stmt) -> tirx.Stmt:
        """Return the loops of one pass around `step`, which uses the axes' variables."""
        cut, size = self._cut, self._steps
        cuts = constant_value(self._cuts)
        start = remainder(number, self._cuts) * size if self._outer else number * size
        extent = constant_value(cut.extent)
        steps: Expr = integer(size, "int64")
        if extent is None or extent % size:
            steps = tirx.min(steps, cut.extent - start)
        rest = divide(number, self._cuts)
        bindings: list[tirx.Stmt] = []
        for axis in reversed(self._outer):
            bindings.append(tirx.Bind(axis.var, remainder(rest, axis.extent)))
            rest = divide(rest, axis.extent)
        inner = Axis(Var(cut.var.name, cut.var.ty), steps, True)
        position: Expr = inner.var
        if cuts != 1:
            # The loop runs over a part of the axis: shift every use of its variable.
            begin = Var("begin", "int64")
            bindings.append(tirx.Bind(begin, start))
            position = begin + inner.var
        body = substitute(step, {cut.var: position})
        *axes, last = [inner, *self._inner]
        innermost = unrolled(last.extent, lambda i: substitute(body, {last.var: i}), last.var.name)
        loops = nest(axes, innermost)
        return sequence([*bindings, loops])
