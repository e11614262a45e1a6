"""A PrimFunc as a list of stages: what every scheduling rule reads instead of loops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import tvm
import tvm_ffi
from tvm import sym, tirx
from tvm.ir import Expr, TensorLoad, Var
from tvm.s_tir.stmt import SBlock, SBlockRealize

from sam_tvm.kernels.bfloat16 import dot_operands
from sam_tvm.kernels.expressions import constant_value, dtype_of, loads, substitute, variables

_LARGEST_EXTENT = 1 << 31


class UnsupportedFunctionError(Exception):
    """The function is not a sequence of perfect loop nests; the fallback rule takes it."""


@dataclass(frozen=True)
class Axis:
    """One loop: its variable, its extent, and whether values are reduced over it."""

    var: Var
    extent: Expr
    reduced: bool


@dataclass(frozen=True)
class Reduction:
    """How a reduction combines: one operator and one term per output.

    `operators` holds "add", "max", "min" or "mul"; `terms` what is combined at each point.
    """

    operators: tuple[str, ...]
    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Stage:
    """One loop nest: `buffers[i][indices] = values[i]` at each point of `axes`.

    For a reduction `inits` has the initial values and `values` reads the buffers themselves;
    `reduction` is set where the combination was recognised.
    """

    name: str
    axes: tuple[Axis, ...]
    buffers: tuple[Var, ...]
    indices: tuple[Expr, ...]
    values: tuple[Expr, ...]
    inits: tuple[Expr, ...] | None = None
    reduction: Reduction | None = None

    @property
    def spatial(self) -> tuple[Axis, ...]:
        """The axes of the output."""
        return tuple(axis for axis in self.axes if not axis.reduced)

    @property
    def reduced(self) -> tuple[Axis, ...]:
        """The axes that are summed (or otherwise combined) over."""
        return tuple(axis for axis in self.axes if axis.reduced)

    @property
    def is_injective(self) -> bool:
        """Whether each point computes one element on its own."""
        return not self.reduced

    def reads(self) -> list[TensorLoad]:
        """Return the loads of other buffers than the stage's own."""
        own = set(self.buffers)
        return [load for value in self.values for load in loads(value) if load.source not in own]


@dataclass
class Program:
    """The parsed function: stages in order, buffers that only live inside it."""

    function: tirx.PrimFunc
    stages: list[Stage]
    locals: list[Var]
    analyzer: sym.Analyzer = field(default_factory=sym.Analyzer)

    @property
    def shape_variables(self) -> set[Var]:
        """The symbolic sizes."""
        found: set[Var] = set()
        for stage in self.stages:
            for axis in stage.axes:
                found |= _integer_variables(axis.extent)
        return found

    def consumers(self, buffer: Var) -> list[Stage]:
        """Return the stages that read a buffer."""
        return [s for s in self.stages if any(load.source.same_as(buffer) for load in s.reads())]


def parse(function: tirx.PrimFunc) -> Program:
    """Read a function made of perfect loop nests over one block each.

    Raises:
        UnsupportedFunctionError: some nest has another form (opaque loops, predicates, ...).

    """
    if not isinstance(function.body, SBlockRealize):
        raise UnsupportedFunctionError("the body is not a block")
    root = function.body.block
    if root.iter_vars or root.match_buffers or root.init is not None:
        raise UnsupportedFunctionError("the root block has more than a body")
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    stages = [_parse_nest(nest) for nest in nests]
    written: set[Var] = set()
    for stage in stages:
        for buffer in stage.buffers:
            if buffer in written:
                raise UnsupportedFunctionError(f"{buffer.name} is written twice")
            written.add(buffer)
    program = Program(function, stages, list(root.alloc_buffers))
    for var in program.shape_variables:
        program.analyzer.bind(var, tvm.ir.Range(1, tirx.IntImm(str(var.ty.dtype), _LARGEST_EXTENT)))
    for stage in stages:
        bind_axes(program.analyzer, stage.axes)
    return program


def is_own_index(index: Expr, axis: Axis) -> bool:
    """Tell whether an index is an axis' variable, or the 0 that stands for one of one step."""
    if isinstance(index, Var):
        return index.same_as(axis.var)
    return constant_value(index) == 0 and constant_value(axis.extent) == 1


def bind_axes(analyzer: sym.Analyzer, axes: tuple[Axis, ...] | list[Axis]) -> None:
    """Tell the analyzer the range of each axis."""
    for axis in axes:
        analyzer.bind(axis.var, tvm.ir.Range.from_min_extent(0, axis.extent))


def _integer_variables(extent: Expr) -> set[Var]:
    return {var for var in variables(extent) if isinstance(var.ty, tvm.ir.PrimType)}


def _parse_nest(nest: tirx.Stmt) -> Stage:
    loops: dict[Var, Expr] = {}
    while isinstance(nest, tirx.For):
        if nest.kind != tirx.ForKind.SERIAL or constant_value(nest.min) != 0:
            raise UnsupportedFunctionError("a loop is scheduled already or does not start at 0")
        loops[nest.loop_var] = nest.extent
        nest = nest.body
    if not isinstance(nest, SBlockRealize):
        raise UnsupportedFunctionError("a loop nest does not end in one block")
    if not (isinstance(nest.predicate, tirx.IntImm) and nest.predicate.value):
        raise UnsupportedFunctionError("a block has a predicate")
    block = nest.block
    if block.alloc_buffers or block.match_buffers:
        raise UnsupportedFunctionError("a block allocates")
    axes = []
    for iter_var, value in zip(block.iter_vars, nest.iter_values, strict=True):
        if value in loops:
            extent = loops.pop(value)
        elif constant_value(value) == 0 and constant_value(iter_var.dom.extent) == 1:
            extent = iter_var.dom.extent
        else:
            raise UnsupportedFunctionError("an axis is not a plain loop")
        if int(iter_var.iter_type) not in (0, 2):
            raise UnsupportedFunctionError("an axis is neither spatial nor reduced")
        axes.append(Axis(iter_var.var, extent, int(iter_var.iter_type) == 2))
    if loops:
        raise UnsupportedFunctionError("a loop is not an axis")
    return _parse_block(block, tuple(axes))


def _parse_block(block: SBlock, axes: tuple[Axis, ...]) -> Stage:
    buffers, indices, values = _parse_stores(block.body)
    for index in indices[0]:
        if any(axis.var in _integer_variables(index) for axis in axes if axis.reduced):
            raise UnsupportedFunctionError("the output is indexed by a reduced axis")
    if any(len(i) != len(indices[0]) for i in indices):
        raise UnsupportedFunctionError("outputs of different rank")
    for other in indices[1:]:
        if not all(tvm_ffi.structural_equal(a, b) for a, b in zip(other, indices[0], strict=True)):
            raise UnsupportedFunctionError("outputs at different indices")
    stage = Stage(block.name_hint, axes, buffers, tuple(indices[0]), values)
    if stage.is_injective:
        if block.init is not None:
            raise UnsupportedFunctionError("an init without a reduction")
        own = set(buffers)
        if any(load.source in own for value in values for load in loads(value)):
            raise UnsupportedFunctionError("a stage reads what it writes")
        return stage
    if block.init is None:
        raise UnsupportedFunctionError("a reduction without init")
    init_buffers, _, inits = _parse_stores(block.init)
    if [hash(b) for b in init_buffers] != [hash(b) for b in buffers]:
        raise UnsupportedFunctionError("init and update write different buffers")
    stage = replace(stage, inits=inits)
    return replace(stage, reduction=_recognise(stage))


def _parse_stores(
    body: tirx.Stmt,
) -> tuple[tuple[Var, ...], list[list[Expr]], tuple[Expr, ...]]:
    """Return buffers, indices and values of `let*; store+`, lets substituted."""
    statements = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    lets: dict[Var, Expr] = {}
    buffers, indices, values = [], [], []
    for statement in statements:
        if isinstance(statement, tirx.Bind):
            if buffers:
                raise UnsupportedFunctionError("a let after a store")
            lets[statement.var] = substitute(statement.value, lets)
        elif isinstance(statement, tirx.BufferStore):
            buffers.append(statement.buffer)
            indices.append([substitute(i, lets) for i in statement.indices])
            values.append(substitute(statement.value, lets))
        else:
            raise UnsupportedFunctionError("a block holds more than stores")
    if not buffers:
        raise UnsupportedFunctionError("a block stores nothing")
    return tuple(buffers), indices, tuple(values)


_COMBINERS = {tirx.Add: "add", tirx.Max: "max", tirx.Min: "min", tirx.Mul: "mul"}


def _recognise(stage: Stage) -> Reduction | None:
    """Split each value into `own (+) term`; None for e.g. argmax, whose outputs interact."""
    own = set(stage.buffers)
    operators, terms = [], []
    for buffer, value in zip(stage.buffers, stage.values, strict=True):
        operator = _COMBINERS.get(type(value))
        if operator is None:
            return None
        left, right = value.a, value.b
        if not _is_load_of(left, buffer):
            left, right = right, left
        if not _is_load_of(left, buffer) or any(load.source in own for load in loads(right)):
            return None
        operators.append(operator)
        terms.append(right)
    return Reduction(tuple(operators), tuple(terms))


def _is_load_of(expr: Expr, buffer: Var) -> bool:
    return isinstance(expr, TensorLoad) and expr.source.same_as(buffer)


def contraction_operands(stage: Stage) -> tuple[TensorLoad, ...] | None:
    """Return what a float32 sum of products loads; None for any other stage.

    Two loads of float32, of which one may be of int8 that is converted to it, or those of a product
    of bfloat16 pairs (`bfloat16.dot_pair`): three, or four where both pairs are made of float32.
    """
    if stage.reduction is None or stage.reduction.operators != ("add",):
        return None
    (term,) = stage.reduction.terms
    if dtype_of(term) != "float32":
        return None
    product = isinstance(term, tirx.Mul)
    operands = tuple(map(_unconverted, (term.a, term.b))) if product else dot_operands(term)
    if operands is None or not all(isinstance(operand, TensorLoad) for operand in operands):
        return None
    return operands


def _unconverted(operand: Expr) -> Expr:
    """Return the int8 that an operand was converted from; any other operand as it is."""
    converted = isinstance(operand, tirx.Cast) and dtype_of(operand.value) == "int8"
    return operand.value if converted else operand


def is_contraction(stage: Stage) -> bool:
    """Tell whether the stage is a float32 sum of products of loads."""
    return contraction_operands(stage) is not None
