"""Where the elements of a kernel's operand lie, for kernels that read and write through strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, divide, remainder
from sam_tvm.kernels.graph.views import Loop
from sam_tvm.kernels.vectors import index


@dataclass(frozen=True)
class Operand:
    """Where the elements of a four-dimensional operand lie in a flat buffer.

    Attributes:
        argument: which of the function's tensors it is.
        offset: position of the first element.
        axes: loops along (batch, head, position in the sequence, channel), or, for a bias, (batch,
            head, query, key), as those of a `View`: the rows of a window are loops inside a
            loop. Where there are several, their extents are known.

    """

    argument: int
    offset: Expr
    axes: tuple[tuple[Loop, ...], ...]

    def at(self, *position: Expr | int) -> Expr:
        """Return the linear position of an element."""
        total = self.offset
        for place, loops in zip(position, self.axes, strict=True):
            if constant_value(place) != 0:
                total = _add_steps(total, place, loops)
        return total

    def map(self, edit: Callable[[Expr], Expr]) -> Operand:
        """Apply `edit` to every expression."""
        axes = tuple(tuple((edit(n), edit(step)) for n, step in loops) for loops in self.axes)
        return Operand(self.argument, edit(self.offset), axes)

    def foreseen(self, *position: Expr | int) -> Expr | None:
        """Return where an element lies or, beyond the end, would; None if that is not known."""
        return self.at(*position)

    @property
    def step(self) -> Expr:
        """How far apart neighbours along the last axis are."""
        return self.axes[-1][0][1] if self.axes[-1] else index(0)

    @property
    def has_vectors(self) -> bool:
        """Whether neighbours along the last axis are neighbours in memory."""
        return constant_value(self.step) == 1


def _add_steps(total: Expr, place: Expr | int, loops: Sequence[Loop]) -> Expr:
    """Return `total` and how far the steps along an axis go."""
    inside = 1
    for number, (extent, stride) in reversed(list(enumerate(loops))):
        steps = place if inside == 1 else divide(place, inside)
        if number:
            steps, inside = remainder(steps, extent), inside * constant_value(extent)
        if constant_value(stride) != 0:
            total = total + steps * stride
    return total
