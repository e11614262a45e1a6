"""Values that are known but not laid out yet: a base, and permutations and reshapes to apply to it.

Element-wise operators commute with any movement of elements. Instead of applying `f` to a
rearranged value, `f` is applied to the base, and the rearrangement is kept for later: two that undo
each other disappear, and what `f` adds to a product joins the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as pairs

from tvm import relax, sym
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, integer, product

Shape = tuple[Expr, ...]
_ANALYZER = sym.Analyzer()
ONE = integer(1, "int64")


@dataclass(frozen=True)
class Permute:
    """Axis i of the result is axis `axes[i]` of what is moved."""

    axes: tuple[int, ...]

    def inverse(self) -> Permute:
        """Return what undoes it."""
        return Permute(tuple(self.axes.index(i) for i in range(len(self.axes))))


@dataclass(frozen=True)
class Reshape:
    """The elements in the same order, with another shape."""

    before: Shape
    after: Shape


Step = Permute | Reshape


@dataclass(frozen=True)
class Moved:
    """The value that `steps` make of `base`, an emitted value."""

    base: relax.Expr
    steps: tuple[Step, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape after all steps."""
        shape = shape_of(self.base)
        for step in self.steps:
            if isinstance(step, Permute):
                shape = tuple(shape[axis] for axis in step.axes)
            else:
                shape = step.after
        return shape

    def permuted(self, axes: Sequence[int]) -> Moved:
        """Return the value with its axes in another order."""
        axes, steps = tuple(axes), self.steps
        if steps and isinstance(steps[-1], Permute):
            axes, steps = tuple(steps[-1].axes[axis] for axis in axes), steps[:-1]
        if axes == tuple(range(len(axes))):
            return Moved(self.base, steps)
        return Moved(self.base, (*steps, Permute(axes)))

    def reshaped(self, shape: Sequence[Expr]) -> Moved:
        """Return the value with another shape.

        A reshape moves before a permutation if that only splits or joins axes which stay together.
        """
        before, after, steps = self.shape, tuple(shape), self.steps
        if same_shape(before, after):
            return self
        if steps and isinstance(steps[-1], Permute):
            exchanged = _exchange(steps[-1], before, after)
            if exchanged is None:
                return Moved(self.base, (*steps, Reshape(before, after)))
            shape_below, axes = exchanged
            return Moved(self.base, steps[:-1]).reshaped(shape_below).permuted(axes)
        if steps:  # of two reshapes in a row only the second matters
            return Moved(self.base, steps[:-1]).reshaped(after)
        return Moved(self.base, (Reshape(before, after),))

    def followed(self, steps: Sequence[Step]) -> Moved:
        """Return the value moved further."""
        moved = self
        for step in steps:
            by_axes = isinstance(step, Permute)
            moved = moved.permuted(step.axes) if by_axes else moved.reshaped(step.after)
        return moved

    def with_rows(self, base: relax.Expr) -> Moved:
        """Return the same movement of the rows of another value, where rows stay whole.

        Rows are what lies along the last axis; those of `base` may be of another length.
        """
        length, steps = shape_of(base)[-1], []
        for step in self.steps:
            if isinstance(step, Reshape):
                step = Reshape((*step.before[:-1], length), (*step.after[:-1], length))
            steps.append(step)
        return Moved(base, tuple(steps))

    def with_base(self, base: relax.Expr) -> Moved:
        """Return the same movement of another value."""
        return Moved(base, self.steps)


def size_of(extent: int) -> Expr:
    """Return a known extent as part of a shape."""
    return integer(extent, "int64")


def shape_of(value: relax.Expr) -> Shape:
    """Return the extents of a tensor whose rank is known."""
    return tuple(value.ty.shape)


def same_shape(a: Shape, b: Shape) -> bool:
    """Tell whether two shapes are equal for all values of their symbols."""
    return len(a) == len(b) and all(map(_equal, a, b))


def same_steps(a: tuple[Step, ...], b: tuple[Step, ...]) -> bool:
    """Tell whether two movements do the same to a value of the same shape."""
    return len(a) == len(b) and all(map(_same_step, a, b))


def _same_step(a: Step, b: Step) -> bool:
    if isinstance(a, Permute) or isinstance(b, Permute):
        return a == b
    return same_shape(a.after, b.after)


def keeps_rows(steps: Sequence[Step]) -> bool:
    """Tell whether a movement leaves what lies along the last axis together."""
    return all(
        step.axes[-1] == len(step.axes) - 1
        if isinstance(step, Permute)
        else _equal(step.before[-1], step.after[-1])
        for step in steps
    )


class Layouts:
    """Emits movements, each at most once."""

    def __init__(self, builder: relax.BlockBuilder) -> None:
        self.builder = builder
        self._done: dict[relax.Expr, list[tuple[Step, relax.Expr]]] = {}

    def lay_out(self, value: Moved) -> relax.Expr:
        """Return the value itself."""
        result = value.base
        for step in value.steps:
            result = self._one(result, step)
        return result

    def _one(self, value: relax.Expr, step: Step) -> relax.Expr:
        done = self._done.setdefault(value, [])
        for known, result in done:
            if _same_step(known, step):
                return result
        if isinstance(step, Permute):
            result = self.builder.emit(relax.op.permute_dims(value, list(step.axes)))
        else:
            result = self.builder.emit(relax.op.reshape(value, list(step.after)))
        done.append((step, result))
        return result

    def pull(self, operand: relax.Expr, steps: Sequence[Step], rank: int) -> relax.Expr:
        """Return what is combined with the base in place of an operand of the moved value.

        Args:
            operand: a tensor that broadcasts to the moved value.
            steps: the movement.
            rank: of the moved value.

        Returns:
            A tensor that broadcasts to the base; extents of 1 stay so wherever they can.

        """
        own = shape_of(operand)
        if not own or (len(own) == 1 and keeps_rows(steps)):
            return operand
        value = Moved(operand).reshaped((ONE,) * (rank - len(own)) + own)
        for step in reversed(steps):
            if isinstance(step, Permute):
                value = value.permuted(step.inverse().axes)
            else:
                value = self._unreshaped(value, step)
        return self.lay_out(value)

    def _unreshaped(self, value: Moved, step: Reshape) -> Moved:
        """Return what broadcasts to `step.before` as `value` broadcasts to `step.after`."""
        own = value.shape
        groups = axis_groups(step.before, step.after) or [_everything(step)]
        full, shape = list(own), []
        for before, after in groups:
            if all(constant_value(own[j]) == 1 for j in after):
                shape += [ONE for _ in before]
            else:
                full[after[0] : after[-1] + 1] = step.after[after[0] : after[-1] + 1]
                shape += [step.before[i] for i in before]
        if not same_shape(tuple(full), own):
            whole = self.lay_out(value)
            value = Moved(self.builder.emit(relax.op.broadcast_to(whole, full)))
        return value.reshaped(shape)


def _exchange(step: Permute, before: Shape, after: Shape) -> tuple[Shape, list[int]] | None:
    """Turn `permute, reshape` into `reshape, permute`.

    Args:
        step: the permutation.
        before: the shape that it makes.
        after: the shape that the reshape makes of that.

    Returns:
        The shape of the reshape that comes first then, and the axes of the permutation; None where
        axes are joined that the permutation brought together.

    """
    groups = axis_groups(before, after)
    if groups is None:
        return None
    placed: list[tuple[int, tuple[int, ...]]] = []
    last = -1
    for old, new in groups:
        below = [step.axes[i] for i in old]
        if below and below != list(range(below[0], below[0] + len(below))):
            return None
        last = below[0] if below else last
        placed.append((last, new))
    order = [j for _, new in sorted(placed, key=lambda item: item[0]) for j in new]
    return tuple(after[j] for j in order), [order.index(j) for j in range(len(after))]


Group = tuple[tuple[int, ...], tuple[int, ...]]


def axis_groups(before: Shape, after: Shape) -> list[Group] | None:
    """Split both shapes into the shortest runs of axes with as many elements each.

    Extents of 1 that have no counterpart are groups of their own.
    """
    groups: list[Group] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and _equal(before[i], after[j]):
            ends = i + 1, j + 1
        elif i < len(before) and constant_value(before[i]) == 1:
            ends = i + 1, j
        elif j < len(after) and constant_value(after[j]) == 1:
            ends = i, j + 1
        else:
            ends = _shortest(before, after, i, j)
        if ends is None:
            return None
        groups.append((tuple(range(i, ends[0])), tuple(range(j, ends[1]))))
        i, j = ends
    return groups


def _shortest(before: Shape, after: Shape, i: int, j: int) -> tuple[int, int] | None:
    """Return where the shortest runs from i and j end that have as many elements."""
    ends = pairs(range(i + 1, len(before) + 1), range(j + 1, len(after) + 1))
    for a, b in sorted(ends, key=sum):
        if _equal(product(list(before[i:a])), product(list(after[j:b]))):
            return a, b
    return None


def _everything(step: Reshape) -> Group:
    return tuple(range(len(step.before))), tuple(range(len(step.after)))


def _equal(a: Expr, b: Expr) -> bool:
    return _ANALYZER.can_prove_equal(a, b)
