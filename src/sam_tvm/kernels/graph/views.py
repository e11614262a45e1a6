"""Strided views: where the elements of a Relax tensor lie in the tensor that it was cut out of.

Permuting, reshaping, slicing, splitting and broadcasting copy memory in Relax. A kernel that reads
and writes through strides needs no such copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm import relax, sym, tirx
from tvm.ir import Expr

from sam_tvm.kernels.expressions import constant_value, product
from sam_tvm.kernels.graph.operators import PERMUTE, RESHAPES, operator_name, permutation
from sam_tvm.kernels.vectors import index

Bindings = Mapping[relax.Var, relax.Expr]
Loop = tuple[Expr, Expr]


@dataclass(frozen=True)
class View:
    """A tensor inside another one.

    An axis may walk through memory in several strides, as loops inside loops do: merging two axes
    that memory does not hold as one, which the next operator often cuts again, makes such an axis.

    Attributes:
        base: the tensor in memory.
        offset: position of the view's first element.
        axes: for each axis its loops (extent, stride in memory), outermost first; the stride is 0
            where the view is broadcast, and there is no loop where the axis has length 1.

    """

    base: relax.Expr
    offset: Expr
    axes: tuple[tuple[Loop, ...], ...]

    def permuted(self, axes: Sequence[int]) -> View:
        """Return the view with its axes in another order."""
        return View(self.base, self.offset, tuple(self.axes[axis] for axis in axes))

    def reshaped(self, shape: tuple[Expr, ...], analyzer: sym.Analyzer) -> View | None:
        """Return the same elements in another shape, None if that cuts loops unevenly."""
        loops = _merged([loop for axis in self.axes for loop in axis], analyzer)
        axes: list[tuple[Loop, ...]] = []
        for number, size in reversed(list(enumerate(shape))):
            if number == 0:  # what is left, because the totals agree
                axes.insert(0, tuple(_merged(loops, analyzer)))
                break
            taken = _take(loops, size, analyzer)
            if taken is None:
                return None
            axes.insert(0, tuple(_merged(taken, analyzer)))
        return View(self.base, self.offset, tuple(axes))

    def sliced(self, axis: int, begin: Expr, step: int, extent: Expr) -> View | None:
        """Return every `step`-th of `extent` elements from `begin` on along an axis."""
        axes = list(self.axes)
        if len(axes[axis]) > 1:
            return None
        stride = axes[axis][0][1] if axes[axis] else index(0)
        axes[axis] = () if constant_value(extent) == 1 else ((extent, stride * step),)
        return View(self.base, self.offset + begin * stride, tuple(axes))

    def broadcast(self, shape: tuple[Expr, ...]) -> View:
        """Return the view repeated along new axes in front, and along axes of length 1."""
        axes = ((),) * (len(shape) - len(self.axes)) + self.axes
        repeated = [
            loops if loops or constant_value(size) == 1 else ((size, index(0)),)
            for loops, size in zip(axes, shape, strict=True)
        ]
        return View(self.base, self.offset, tuple(repeated))


def _merged(loops: Sequence[Loop], analyzer: sym.Analyzer) -> list[Loop]:
    """Return the loops, neighbours as one where memory holds them as one."""
    merged: list[Loop] = []
    for extent, stride in loops:
        if merged and analyzer.can_prove_equal(merged[-1][1], stride * extent):
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return merged


def _take(loops: list[Loop], size: Expr, analyzer: sym.Analyzer) -> list[Loop] | None:
    """Remove the innermost loops of `size` steps and return them; None if there are none such."""
    taken: list[Loop] = []
    while not analyzer.can_prove_equal(size, 1):
        if not loops:
            return None
        extent, stride = loops.pop()
        if analyzer.can_prove_equal(tirx.floormod(size, extent), 0):
            taken.insert(0, (extent, stride))
            size = analyzer.simplify(tirx.floordiv(size, extent))
        elif analyzer.can_prove_equal(tirx.floormod(extent, size), 0):
            taken.insert(0, (size, stride))
            rest = analyzer.simplify(tirx.floordiv(extent, size))
            loops.append((rest, analyzer.simplify(stride * size)))
            break
        else:
            return None
    return taken


def whole(tensor: relax.Expr) -> View:
    """Return the view of all of a tensor, whose shape has to be known."""
    shape = shape_of(tensor)
    strides = [product(list(shape[axis + 1 :])) for axis in range(len(shape))]
    loops = [
        () if constant_value(size) == 1 else ((size, stride),)
        for size, stride in zip(shape, strides, strict=True)
    ]
    return View(tensor, index(0), tuple(loops))


def shape_of(tensor: relax.Expr) -> tuple[Expr, ...]:
    """Return the sizes of a tensor."""
    return tuple(tensor.ty.shape)


def has_shape(tensor: relax.Expr) -> bool:
    """Tell whether an expression is a tensor of known, perhaps symbolic, shape."""
    return isinstance(tensor.ty, relax.TensorType) and isinstance(tensor.ty.shape, relax.ShapeExpr)


def trace(tensor: relax.Var, bindings: Bindings, analyzer: sym.Analyzer) -> list[View]:
    """Return views of a tensor: in itself, in what it was cut out of, and so on.

    Args:
        tensor: a tensor of known shape.
        bindings: the value of each variable.
        analyzer: compares sizes.

    """
    views, steps = [whole(tensor)], []
    while (origin := _origin(views[-1].base, bindings, analyzer)) is not None:
        source, step = origin
        steps.append(step)
        view: View | None = whole(source)
        for made in reversed(steps):
            view = None if view is None else made(view)
        if view is None:
            break
        views.append(view)
    return views


def _origin(
    tensor: relax.Var, bindings: Bindings, analyzer: sym.Analyzer
) -> tuple[relax.Var, Callable[[View], View | None]] | None:
    """Return the variable that a tensor is cut out of, and how; None if it is none."""
    value = bindings.get(tensor)
    if isinstance(value, relax.Var):
        source, step = value, lambda view: view
    elif isinstance(value, relax.TupleGetItem):
        source, step = _part(value, bindings)
    else:
        source = value.args[0] if isinstance(value, relax.Call) and value.args else None
        step = _step(value, shape_of(tensor), analyzer)
    if step is None or not isinstance(source, relax.Var) or not has_shape(source):
        return None
    return source, step


def _part(
    value: relax.TupleGetItem, bindings: Bindings
) -> tuple[relax.Var | None, Callable[[View], View | None] | None]:
    """Return what was split, and the view of one part."""
    call = bindings.get(value.tuple_value)
    if operator_name(call) != "relax.split":
        return None, None
    parts = value.tuple_value.ty.fields
    axis = int(call.attrs.axis) % len(parts[0].shape)
    begin = sum((part.shape[axis] for part in list(parts)[: value.index]), index(0))
    extent = parts[value.index].shape[axis]
    return call.args[0], lambda view: view.sliced(axis, begin, 1, extent)


def _step(
    value: relax.Expr | None, shape: tuple[Expr, ...], analyzer: sym.Analyzer
) -> Callable[[View], View | None] | None:
    """Return what an operator with a result of `shape` makes of its argument's view."""
    name = operator_name(value)
    if name == PERMUTE:
        axes = permutation(value)
        return lambda view: view.permuted(axes)
    if name == "relax.broadcast_to":
        return lambda view: view.broadcast(shape)
    if name in RESHAPES:
        return lambda view: view.reshaped(shape, analyzer)
    slices = _slices(value) if name == "relax.strided_slice" else None
    if slices is None:
        return None

    def cut(view: View) -> View | None:
        for axis, begin, by in slices:
            view = None if view is None else view.sliced(axis, index(begin), by, shape[axis])
        return view

    return cut


def _slices(call: relax.Call) -> list[tuple[int, int, int]] | None:
    """Return (axis, begin, step) of a `strided_slice` forwards from known positions."""
    found = []
    groups = [list(group) for group in call.args[1:]]
    axes, begins = groups[0], groups[1]
    steps = groups[3] if len(groups) > 3 else [index(1)] * len(axes)
    for numbers in zip(axes, begins, steps, strict=True):
        axis, begin, step = (_number(number) for number in numbers)
        if axis is None or begin is None or begin < 0 or step is None or step < 1:
            return None
        found.append((axis % len(call.args[0].ty.shape), begin, step))
    return found


def _number(value: relax.Expr) -> int | None:
    return int(value) if isinstance(value, tirx.IntImm) else None


def has_vectors(view: View | None) -> bool:
    """Tell whether the last axis lies side by side, and loops inside loops are of known extents."""
    if view is None or len(view.axes[-1]) > 1:
        return False
    nested = [extent for loops in view.axes if len(loops) > 1 for extent, _ in loops]
    if any(constant_value(extent) is None for extent in nested):
        return False
    return all(constant_value(stride) == 1 for _, stride in view.axes[-1])


def place_in(result: relax.Var, steps: Sequence[relax.Call], analyzer: sym.Analyzer) -> View | None:
    """Return where a tensor's elements are after it was permuted and reshaped.

    Args:
        result: the last operator's value.
        steps: the operators, first to last.
        analyzer: compares sizes.

    Returns:
        A view of `result` in the shape of the first operator's argument; None if no strides
        describe it.

    """
    view: View | None = whole(result)
    for call in reversed(steps):
        if view is None:
            return None
        if operator_name(call) == PERMUTE:
            axes = permutation(call)
            view = view.permuted([axes.index(axis) for axis in range(len(axes))])
        else:
            view = view.reshaped(shape_of(call.args[0]), analyzer)
    return view
