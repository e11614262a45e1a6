"""Conditions on positions (padding, concatenation), decided outside loops instead of per lane."""

from __future__ import annotations

from collections.abc import Callable

import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Call, Expr, TensorLoad, Var

from sam_tvm.kernels.expressions import (
    constant_value,
    dtype_of,
    integer,
    is_guard,
    linear_form,
    loads,
    substitute,
    variables,
)
from sam_tvm.kernels.layout import FlatStage
from sam_tvm.kernels.loops import sequence
from sam_tvm.kernels.program import Axis, bind_axes

_MOST_CUTS = 8  # pieces of a loop; each repeats its body
_MOST_CHOICES = 3  # conditions that choose between whole loops; each doubles them
_COMPARISONS = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)


def comparisons(stage: FlatStage) -> list[Expr]:
    """Return the comparisons of positions that the values of a stage depend on."""
    found: list[Expr] = []

    def visit(comparison: Expr) -> None:
        if dtype_of(comparison.a).startswith("int") and not loads(comparison):
            found.append(comparison)

    for value in stage.values:
        tvm_ffi.structural_walk(value, (_COMPARISONS, visit))
    return found


def at(stage: FlatStage, point: dict[Var, Expr], analyzer: sym.Analyzer) -> FlatStage:
    """Return the stage with axes replaced; what is then known of its conditions is used."""
    simplify = _simplifier(analyzer)
    return stage.rewrite(lambda expr: simplify(substitute(expr, point)))


def _simplifier(analyzer: sym.Analyzer) -> Callable[[Expr], Expr]:
    """Return what simplifies positions, and values by the conditions that are known to hold."""

    def comparison(expr: Expr) -> Expr:
        if not dtype_of(expr.a).startswith("int") or loads(expr):
            return expr
        return analyzer.simplify(expr)

    def load(expr: TensorLoad) -> Expr:
        indices = [analyzer.simplify(index) for index in expr.indices]
        return tirx.BufferLoad(expr.source, indices)

    rules = [(_COMPARISONS, comparison), (TensorLoad, load), *_FOLDING]

    def simplify(expr: Expr) -> Expr:
        if dtype_of(expr).startswith("int") and not loads(expr):
            return analyzer.simplify(expr)
        return tvm_ffi.structural_map(expr, rules)

    return simplify


def _fold_and(expr: tirx.And) -> Expr:
    for one, other in ((expr.a, expr.b), (expr.b, expr.a)):
        known = constant_value(one)
        if known is not None:
            return other if known else one
    return expr


def _fold_or(expr: tirx.Or) -> Expr:
    for one, other in ((expr.a, expr.b), (expr.b, expr.a)):
        known = constant_value(one)
        if known is not None:
            return one if known else other
    return expr


def _fold_not(expr: tirx.Not) -> Expr:
    known = constant_value(expr.a)
    return expr if known is None else tirx.IntImm("bool", not known)


def _fold_select(expr: tirx.Select) -> Expr:
    known = constant_value(expr.condition)
    if known is None:
        return expr
    return expr.true_value if known else expr.false_value


def _fold_guard(expr: Call) -> Expr:
    if not is_guard(expr):
        return expr
    condition, yes, no = expr.args
    known = constant_value(condition)
    if known is None:
        return expr
    return yes if known else no


_FOLDING = [
    (tirx.And, _fold_and),
    (tirx.Or, _fold_or),
    (tirx.Not, _fold_not),
    (tirx.Select, _fold_select),
    (Call, _fold_guard),
]


def in_pieces(
    stage: FlatStage,
    axis: Axis,
    analyzer: sym.Analyzer,
    emit: Callable[[FlatStage, Axis], tirx.Stmt],
) -> tirx.Stmt:
    """Emit the parts of an axis between which conditions on it change, one after another.

    `emit` gets the stage and the axis of each part; the part's conditions are decided in it.
    """
    extent = constant_value(axis.extent)
    cuts = _cuts(stage, axis, extent, analyzer) if extent is not None else []
    if not cuts or len(cuts) > _MOST_CUTS:
        return emit(stage, axis)
    statements = []
    for begin, end in zip([0, *cuts], [*cuts, extent], strict=True):
        part = Axis(Var(axis.var.name, axis.var.ty), integer(end - begin, axis.var), False)
        bind_axes(analyzer, [part])
        point = {axis.var: part.var + begin}
        statements.append(emit(at(stage, point, analyzer), part))
    return sequence(statements)


def _cuts(stage: FlatStage, axis: Axis, extent: int, analyzer: sym.Analyzer) -> list[int]:
    found = set()
    for comparison in comparisons(stage):
        for cut in _cut(comparison, axis, analyzer):
            if 0 < cut < extent:
                found.add(cut)
    return sorted(found)


def _cut(comparison: Expr, axis: Axis, analyzer: sym.Analyzer) -> list[int]:
    """Return where the comparison changes along the axis, as far as that is known numbers."""
    form = linear_form(comparison.a - comparison.b, [axis.var])
    if form is None:
        return []
    (step,), rest = form
    slope, offset = constant_value(step), constant_value(analyzer.simplify(rest))
    if slope not in (1, -1) or offset is None:
        return []
    zero = -slope * offset  # where both sides are equal
    if isinstance(comparison, (tirx.EQ, tirx.NE)):
        return [zero, zero + 1]
    strict = isinstance(comparison, (tirx.LT, tirx.GT))
    rising = (slope == 1) == isinstance(comparison, (tirx.GT, tirx.GE))
    # A rising comparison becomes true: after the zero if it is strict, at the zero otherwise.
    return [zero + 1 if rising == strict else zero]


def choose(
    stage: FlatStage,
    inside: list[Var],
    analyzer: sym.Analyzer,
    emit: Callable[[FlatStage], tirx.Stmt],
    depth: int = 0,
) -> tirx.Stmt:
    """Emit the stage, with one statement for each way that conditions outside some loops turn out.

    Args:
        stage: what is emitted.
        inside: the variables of the loops; conditions on them stay.
        analyzer: knows the ranges of all axes.
        emit: returns the loops.
        depth: how many conditions were decided already.

    """
    found = _first_outside(stage, inside)
    if found is None or depth == _MOST_CHOICES:
        return emit(stage)
    condition, outside = found

    def assuming(decisions: list[tuple[Expr, bool]]) -> tirx.Stmt:
        def decide(expr: Expr) -> Expr:
            for other, value in decisions:
                if tvm_ffi.structural_equal(expr, other):
                    return tirx.IntImm("bool", value)
            return expr

        # Before what a condition consists of is looked at, hence twice.
        rules = [((*_COMPARISONS, tirx.And), decide)]

        def edit(expr: Expr) -> Expr:
            decided = tvm_ffi.structural_map(expr, rules, order="pre")
            return tvm_ffi.structural_map(decided, _FOLDING)

        return choose(stage.rewrite(edit), inside, analyzer, emit, depth + 1)

    together = outside[0]
    for comparison in outside[1:]:
        together = tirx.And(together, comparison)
    return tirx.IfThenElse(
        together,
        assuming([(comparison, True) for comparison in outside]),
        assuming([(condition, False)]),
    )


def _first_outside(stage: FlatStage, inside: list[Var]) -> tuple[Expr, list[Expr]] | None:
    """Return a condition, and those of its parts that must hold which do not depend on `inside`."""
    found: list[tuple[Expr, list[Expr]]] = []

    def visit(condition: Expr) -> None:
        parts = [
            part
            for part in _parts(condition)
            if isinstance(part, _COMPARISONS)
            and dtype_of(part.a).startswith("int")
            and not loads(part)
            and not set(inside) & variables(part)
        ]
        if parts:
            found.append((condition, parts))

    def guard(call: Call) -> None:
        if is_guard(call):
            visit(call.args[0])

    rules = [(tirx.Select, lambda select: visit(select.condition)), (Call, guard)]
    for value in stage.values:
        tvm_ffi.structural_walk(value, rules)
    return found[0] if found else None


def _parts(condition: Expr) -> list[Expr]:
    if isinstance(condition, tirx.And):
        return [*_parts(condition.a), *_parts(condition.b)]
    return [condition]
