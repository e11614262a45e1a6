"""Reductions: one partial result per vector lane, so that sums are short and loops are wide."""

from __future__ import annotations

from collections.abc import Callable

from tvm import sym, tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.expressions import constant_value, divide, dtype_of, integer, loads, substitute
from sam_tvm.kernels.layout import FlatStage, constant_stride
from sam_tvm.kernels.loops import loop, nest, sequence, vector
from sam_tvm.kernels.program import Axis

_UNROLL = 4  # independent accumulators: hides the latency of an addition
_RUN = 4  # vectors side by side where the next element to add is far away
_CACHE = 1 << 20  # bytes that a second-level cache keeps

_APPLY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": tirx.max,
    "min": tirx.min,
}


def reduction_nest(
    stage: FlatStage, axes: tuple[Axis, ...], lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Return serial loops over the spatial `axes`, each point reduced over `stage.reduced`."""
    if stage.operators is None:
        return nest(axes, _sequential(stage))
    if reduces_across_lanes(stage) or not axes:
        along = _contiguous_axis(stage) or stage.reduced[-1]
        return nest(axes, _across_lanes(stage, along, lanes, analyzer))
    return _along_output(stage, axes, lanes, analyzer)


def reduces_across_lanes(stage: FlatStage) -> bool:
    """Tell whether vectors run along a reduced axis; otherwise along the outputs."""
    return stage.operators is None or _contiguous_axis(stage) is not None


def _contiguous_axis(stage: FlatStage) -> Axis | None:
    """Return the reduced axis whose elements lie side by side, unless it is very short."""
    for axis in reversed(stage.reduced):
        extent = constant_value(axis.extent)
        if extent is not None and extent < 8:
            continue
        for value in stage.values:
            if any(constant_stride(load.indices[0], axis) == 1 for load in loads(value)):
                return axis
    return None


def _sequential(stage: FlatStage) -> tirx.Stmt:
    """Reduce in the order of the loops: for combinations such as argmax."""
    first = [
        tirx.BufferStore(b, init, [stage.index])
        for b, init in zip(stage.buffers, stage.inits, strict=True)
    ]
    # Each new value may read every output, so all are computed before the first is stored.
    values = [Var(f"{b.name}_new", v.ty) for b, v in zip(stage.buffers, stage.values, strict=True)]
    bindings = [tirx.Bind(var, v) for var, v in zip(values, stage.values, strict=True)]
    updates = [
        tirx.BufferStore(b, v, [stage.index]) for b, v in zip(stage.buffers, values, strict=True)
    ]
    return sequence([*first, nest(stage.reduced, sequence([*bindings, *updates]))])


class _Accumulators:
    """`count` sets of one accumulator buffer per output, each `lanes` wide."""

    def __init__(self, stage: FlatStage, count: int, lanes: int) -> None:
        self._stage, self._count, self._lanes = stage, count, lanes
        self.sets = [
            [
                tirx.decl_buffer((lanes,), dtype_of(v), f"partial_{n}_{i}")
                for i, v in enumerate(stage.values)
            ]
            for n in range(count)
        ]

    def prepare(self, like: Expr) -> list[tirx.Stmt]:
        """Allocate and initialise."""
        statements: list[tirx.Stmt] = [tirx.AllocBuffer(b) for bs in self.sets for b in bs]
        for buffers in self.sets:
            for buffer, init in zip(buffers, self._stage.inits, strict=True):
                statements.append(
                    vector(
                        self._lanes, like, lambda i, b=buffer, v=init: tirx.BufferStore(b, v, [i])
                    )
                )
        return statements

    def add(self, number: int, lane: Expr, point: dict[Var, Expr]) -> tirx.Stmt:
        """Combine the terms at `point` into one lane."""
        return sequence(
            [
                tirx.BufferStore(b, _APPLY[op](b[lane], substitute(term, point)), [lane])
                for b, op, term in zip(
                    self.sets[number], self._stage.operators, self._stage.values, strict=True
                )
            ]
        )

    def fold_sets(self, like: Expr) -> list[tirx.Stmt]:
        """Combine all sets into the first, pairwise."""
        statements = []
        step = self._count // 2
        while step >= 1:
            for n in range(step):
                statements.append(
                    vector(
                        self._lanes,
                        like,
                        lambda i, a=n, b=n + step: self._combine(a, i, self.sets[b], i),
                    )
                )
            step //= 2
        return statements

    def fold_lanes(self, like: Expr) -> list[tirx.Stmt]:
        """Combine the lanes of the first set into lane 0, halving."""
        statements = []
        width = self._lanes // 2
        while width >= 1:
            statements.append(
                vector(width, like, lambda i, w=width: self._combine(0, i, self.sets[0], i + w))
            )
            width //= 2
        return statements

    def _combine(self, into: int, lane: Expr, other: list[Var], from_lane: Expr) -> tirx.Stmt:
        return sequence(
            [
                tirx.BufferStore(b, _APPLY[op](b[lane], o[from_lane]), [lane])
                for b, o, op in zip(self.sets[into], other, self._stage.operators, strict=True)
            ]
        )


def _across_lanes(stage: FlatStage, along: Axis, lanes: int, analyzer: sym.Analyzer) -> tirx.Stmt:
    """Reduce one output: lanes take every `lanes`-th element of `along`."""
    extent = along.extent
    known = constant_value(extent)
    while known is not None and lanes > known:
        lanes //= 2
    unroll = _UNROLL if known is None or known >= lanes * _UNROLL else 1
    partial = _Accumulators(stage, unroll, lanes)
    step = lanes * unroll
    wide = analyzer.simplify(divide(extent, integer(step, extent)))
    narrow = analyzer.simplify(divide(extent - wide * step, integer(lanes, extent)))
    done = analyzer.simplify(wide * step + narrow * lanes)
    rest = analyzer.simplify(extent - done)

    def add(number: int, start: Expr) -> tirx.Stmt:
        return vector(lanes, extent, lambda i: partial.add(number, i, {along.var: start + i}))

    body: list[tirx.Stmt] = []
    if constant_value(wide) != 0:
        body.append(
            loop(
                wide,
                lambda b: sequence([add(n, b * step + n * lanes) for n in range(unroll)]),
                "wide",
            )
        )
    if constant_value(narrow) != 0:
        body.append(loop(narrow, lambda b: add(0, wide * step + b * lanes), "narrow"))
    if constant_value(rest) != 0:
        body.append(loop(rest, lambda i: partial.add(0, i, {along.var: done + i}), "rest"))
    others = [axis for axis in stage.reduced if axis is not along]
    finish = [
        tirx.BufferStore(b, p[integer(0, extent)], [stage.index])
        for b, p in zip(stage.buffers, partial.sets[0], strict=True)
    ]
    return sequence(
        [
            *partial.prepare(extent),
            nest(others, sequence(body)),
            *partial.fold_sets(extent),
            *partial.fold_lanes(extent),
            *finish,
        ]
    )


def _along_output(
    stage: FlatStage, axes: tuple[Axis, ...], lanes: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Reduce neighbouring outputs together, one per lane; the first reduced axis interleaves."""
    *outer, inner = axes
    known = constant_value(inner.extent)
    while known is not None and lanes > max(known, 1):
        lanes //= 2
    # A far step leaves no line of memory in the cache for the next block: take whole runs of lines.
    far = _reduced_bytes(stage) > _CACHE
    wide = lanes * _RUN if far else lanes
    while known is not None and wide > max(known, 1):
        wide //= 2

    def block(start: Expr, width: int) -> tirx.Stmt:
        return _reduce_block(stage, inner, start, width, analyzer)

    statements: list[tirx.Stmt] = []
    done: Expr = integer(0, inner.extent)
    for width in dict.fromkeys((wide, lanes)):
        count = analyzer.simplify(divide(inner.extent - done, integer(width, inner.extent)))
        if constant_value(count) != 0:
            begin = done
            statements.append(loop(count, lambda b, w=width, s=begin: block(s + b * w, w), "block"))
        done = analyzer.simplify(done + count * width)
    if known is None:
        statements.append(loop(inner.extent - done, lambda i: block(done + i, 1), "rest"))
    elif known % lanes:  # the last block overlaps its neighbour
        statements.append(block(integer(known - lanes, inner.extent), lanes))
    return nest(outer, sequence(statements))


def _reduced_bytes(stage: FlatStage) -> int:
    """Return over how much memory one output's elements are spread, as far as that is known."""
    farthest = 0
    for value in stage.values:
        for load in loads(value):
            spread = sum(
                (constant_stride(load.indices[0], axis) or 0) * (constant_value(axis.extent) or 1)
                for axis in stage.reduced
            )
            farthest = max(farthest, spread * tirx.const(0, load.source.dtype).ty.dtype.itemsize)
    return farthest


def _reduce_block(
    stage: FlatStage, inner: Axis, start: Expr, width: int, analyzer: sym.Analyzer
) -> tirx.Stmt:
    """Reduce `width` neighbouring outputs, with `_UNROLL` partial results over a long axis."""
    longest = stage.reduced[0]
    known = constant_value(longest.extent)
    unroll = _UNROLL if known is None or known >= 4 * _UNROLL else 1
    partial = _Accumulators(stage, unroll, width)
    like = longest.extent

    def add(number: int, at: Expr) -> tirx.Stmt:
        return vector(
            width, like, lambda i: partial.add(number, i, {inner.var: start + i, longest.var: at})
        )

    whole = analyzer.simplify(divide(longest.extent, integer(unroll, like)))
    rest = analyzer.simplify(longest.extent - whole * unroll)
    others = stage.reduced[1:]
    body: list[tirx.Stmt] = []
    if constant_value(whole) != 0:
        body.append(
            loop(
                whole,
                lambda b: nest(others, sequence([add(n, b * unroll + n) for n in range(unroll)])),
                "step",
            )
        )
    if constant_value(rest) != 0:
        body.append(loop(rest, lambda i: nest(others, add(0, whole * unroll + i)), "rest"))

    def finish(lane: Expr) -> tirx.Stmt:
        index = substitute(stage.index, {inner.var: start + lane})
        return sequence(
            [
                tirx.BufferStore(b, p[lane], [index])
                for b, p in zip(stage.buffers, partial.sets[0], strict=True)
            ]
        )

    return sequence(
        [
            *partial.prepare(like),
            *body,
            *partial.fold_sets(like),
            vector(width, like, finish),
        ]
    )
