"""Flat buffers: every access becomes one linear index, which shows strides and merges axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    integer,
    linear_form,
    map_loads,
    product,
    substitute,
    variables,
)
from sam_tvm.kernels.program import Axis, Program, Stage, bind_axes


@dataclass(frozen=True)
class FlatStage:
    """A stage over flat buffers.

    Attributes:
        spatial, reduced: the axes, unit axes dropped, neighbours merged where memory allows.
        buffers: flat outputs; `index` is the linear index they share.
        values: per output; for a recognised reduction the term, otherwise the full value.

    """

    spatial: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    buffers: tuple[Var, ...]
    index: Expr
    values: tuple[Expr, ...]
    inits: tuple[Expr, ...] | None = None
    operators: tuple[str, ...] | None = None

    def rewrite(self, edit: Callable[[Expr], Expr]) -> FlatStage:
        """Apply `edit` to the index and the values."""
        return replace(self, index=edit(self.index), values=tuple(edit(v) for v in self.values))


def scratch(size: Expr | int, dtype: str, name: str) -> tuple[Var, list[tirx.Stmt]]:
    """Return a temporary one-dimensional buffer and the statements that allocate it.

    Its address is taken once: CompactBufferAllocation leaves such memory alone, instead of guessing
    a smaller symbolic size from the loops.
    """
    buffer = tirx.decl_buffer((size,), dtype, name)
    return buffer, [tirx.AllocBuffer(buffer), tirx.Evaluate(buffer.data)]


class FlatBuffers:
    """The flat view of each buffer of a function, and what declares it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._flat: dict[Var, Var] = {}
        self._dropped: dict[Var, int] = {}
        self._declared: dict[Var, list[tirx.Stmt]] = {}

    @property
    def declarations(self) -> list[tirx.Stmt]:
        """What declares the buffers that live as long as the function."""
        return [statement for statements in self._declared.values() for statement in statements]

    def view(self, buffer: Var) -> Var:
        """Return the one-dimensional buffer."""
        if buffer not in self._flat:
            shape = self._program.analyzer.simplify(product(list(buffer.shape)))
            if buffer in self._program.locals:
                flat, statements = scratch(shape, buffer.dtype, buffer.name)
            else:
                name = f"{buffer.name}_flat"
                flat = tirx.decl_buffer((shape,), buffer.dtype, name, data=buffer.data)
                statements = [tirx.DeclBuffer(flat, data=buffer.data)]
            self._flat[buffer], self._declared[buffer] = flat, statements
            self._dropped[buffer] = 0
        return self._flat[buffer]

    def make_local(self, buffer: Var, dropped: int) -> list[tirx.Stmt]:
        """Let `buffer` live inside a loop over its first `dropped` dimensions.

        Returns what allocates it there.
        """
        shape = self._program.analyzer.simplify(product(list(buffer.shape[dropped:])))
        self._flat[buffer], statements = scratch(shape, buffer.dtype, buffer.name)
        self._dropped[buffer] = dropped
        self._declared.pop(buffer, None)
        return statements

    def index(self, buffer: Var, indices: tuple[Expr, ...] | list[Expr]) -> Expr:
        """Return the linear index of an element."""
        self.view(buffer)
        skip = self._dropped[buffer]
        linear: Expr = integer(0, "int64")
        for extent, i in list(zip(buffer.shape, indices, strict=True))[skip:]:
            linear = linear * extent + i
        return self._program.analyzer.simplify(linear)

    def load(self, load: TensorLoad) -> Expr:
        """Return the same load from the flat view."""
        return tirx.BufferLoad(self.view(load.source), [self.index(load.source, load.indices)])


def flatten(program: Program, stage: Stage, flat: FlatBuffers) -> FlatStage:
    """Turn a stage into its flat form; axes are neither dropped nor merged yet."""
    values = stage.reduction.terms if stage.reduction else stage.values
    result = FlatStage(
        stage.spatial,
        stage.reduced,
        tuple(flat.view(b) for b in stage.buffers),
        flat.index(stage.buffers[0], stage.indices),
        tuple(map_loads(v, flat.load) for v in values),
        stage.inits,
        stage.reduction.operators if stage.reduction else None,
    )
    return result


def drop_unit_axes(stage: FlatStage, analyzer: sym.Analyzer, keep: int = 0) -> FlatStage:
    """Remove the axes of one step, the first `keep` spatial ones apart."""
    candidates = stage.spatial[keep:] + stage.reduced
    units = [axis for axis in candidates if constant_value(axis.extent) == 1]
    if not units:
        return stage
    zero = {axis.var: integer(0, axis.var) for axis in units}
    stage = stage.rewrite(lambda e: _simplify_indices(substitute(e, zero), analyzer))

    def left(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(axis for axis in axes if axis.var not in zero)

    return replace(stage, spatial=left(stage.spatial), reduced=left(stage.reduced))


def _simplify_indices(expr: Expr, analyzer: sym.Analyzer) -> Expr:
    if str(expr.ty.dtype).startswith("int"):
        return analyzer.simplify(expr)
    return map_loads(
        expr, lambda load: tirx.BufferLoad(load.source, [analyzer.simplify(load.indices[0])])
    )


def merge_axes(
    stage: FlatStage, analyzer: sym.Analyzer, keep: int = 0, merge_reduced: bool = True
) -> FlatStage:
    """Merge neighbouring axes that every access walks as one.

    The first `keep` spatial axes stay as they are, and the reduced ones without `merge_reduced`.
    """
    stage = _merge(stage, analyzer, "spatial", keep)
    return _merge(stage, analyzer, "reduced", 0) if merge_reduced else stage


def _merge(stage: FlatStage, analyzer: sym.Analyzer, kind: str, keep: int) -> FlatStage:
    position = len(getattr(stage, kind)) - 2
    while position >= keep:
        axes = getattr(stage, kind)
        merged = _merge_pair(stage, analyzer, axes[position], axes[position + 1], kind)
        stage = merged or stage
        position -= 1
    return stage


def _merge_pair(
    stage: FlatStage, analyzer: sym.Analyzer, outer: Axis, inner: Axis, kind: str
) -> FlatStage | None:
    pair = [outer.var, inner.var]
    fused = Axis(Var(inner.var.name, inner.var.ty), outer.extent * inner.extent, outer.reduced)

    def fuse_index(index: Expr) -> Expr | None:
        form = linear_form(index, pair)
        if form is None:
            return None
        (step, unit), rest = form
        if not analyzer.can_prove_equal(step, unit * inner.extent):
            return None
        return analyzer.simplify(rest) + unit * fused.var

    failed = False

    def fuse_load(load: TensorLoad) -> Expr:
        nonlocal failed
        index = fuse_index(load.indices[0])
        if index is None:
            failed = True
            return load
        return tirx.BufferLoad(load.source, [index])

    index = fuse_index(stage.index)
    if index is None:
        return None
    values = tuple(map_loads(v, fuse_load) for v in stage.values)
    if failed or any(set(pair) & variables(v) for v in values):
        return None
    bind_axes(analyzer, [fused])
    axes = [fused if a is inner else a for a in getattr(stage, kind) if a is not outer]
    return replace(stage, index=index, values=values, **{kind: tuple(axes)})


def stride(index: Expr, axis: Axis) -> Expr | None:
    """Return the step of a linear index along an axis; None if it is not linear in it."""
    form = linear_form(index, [axis.var])
    return None if form is None else form[0][0]


def constant_stride(index: Expr, axis: Axis) -> int | None:
    """Return the step along an axis if it is a known number."""
    step = stride(index, axis)
    return None if step is None else constant_value(step)
