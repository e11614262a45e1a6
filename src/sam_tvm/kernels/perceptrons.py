"""Perceptrons of a few inputs and a few outputs: many rows at once, what is hidden in registers.

`relu(x @ w1 + b1) @ w2`, as a position bias or an embedding of boxes has it. As two products the
hidden layer, a hundred times as large as what goes in and out, would be stored and read again.
Here a vector holds one hidden channel of as many rows as it has lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.ir import Expr, Var
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value, divide_up, product
from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.graph.movement import shape_of
from sam_tvm.kernels.graph.operators import MATMUL, operator_name
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass
from sam_tvm.kernels.layout import scratch
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.target_features import VectorUnit, vector_unit
from sam_tvm.kernels.vectors import Code, Lanes, index

RULE = "perceptron"
_MOST_INPUTS, _MOST_OUTPUTS = 4, 16
_PASS = 64  # hidden channels that are added up before they join the sum
_SUMS = {32: 16, 16: 8}  # registers of sums, by registers


@dataclass(frozen=True)
class Sizes:
    """What a kernel is made for: columns of each layer, and how many axes its rows have."""

    inputs: int
    hidden: int
    outputs: int
    axes: int


def place(target: tvm.target.Target | str) -> tvm.ir.transform.Pass:
    """Return a pass that replaces every such perceptron by a call of a kernel made for it.

    Args:
        target: an LLVM target.
    """
    unit = vector_unit(tvm.target.Target(target))
    return parameter_rewriting_pass("SamTvmPlacePerceptrons", lambda module: _Placer(module, unit))


@mutator
class _Placer(Rewriter):
    def __init__(self, module: tvm.IRModule, unit: VectorUnit) -> None:
        super().__init__(module)
        self.unit = unit
        self.kernels: dict[Sizes, tvm.ir.GlobalVar] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replace one call, if it is the second product of such a perceptron."""
        call = super().visit_call_(call)
        tensors = self._tensors(call)
        if tensors is None:
            return call
        x, first, _, second = (shape_of(tensor) for tensor in tensors)
        inputs, hidden = (constant_value(extent) for extent in first)
        sizes = Sizes(inputs, hidden, constant_value(second[1]), len(x) - 1)
        if sizes not in self.kernels:
            function = perceptron_function(sizes, self.unit)
            self.kernels[sizes] = self.builder_.add_func(function, RULE)
        self.changed = True
        return relax.call_tir(self.kernels[sizes], tensors, call.ty)

    def _tensors(self, call: relax.Call) -> list[relax.Expr] | None:
        """Return x, w1, b1 and w2 of a perceptron's result, or None."""
        if operator_name(call) != MATMUL or not _is_matrix(call.args[1], _MOST_OUTPUTS):
            return None
        activated = self.value(call.args[0])
        if operator_name(activated) != "relax.nn.relu":
            return None
        added = self.value(activated.args[0])
        if operator_name(added) != "relax.add":
            return None
        for own, bias in (added.args, reversed(added.args)):
            first = self.value(own)
            if operator_name(first) != MATMUL or len(shape_of(bias)) != 1:
                continue
            x, weight = first.args
            rows = constant_value(shape_of(weight)[0])
            if rows is not None and rows <= _MOST_INPUTS and _is_matrix(weight):
                return [x, weight, bias, call.args[1]]
        return None


def _is_matrix(weight: relax.Expr, most_columns: int | None = None) -> bool:
    extents = [constant_value(extent) for extent in shape_of(weight)]
    if len(extents) != 2 or None in extents:
        return False
    return most_columns is None or extents[1] <= most_columns


def perceptron_function(sizes: Sizes, unit: VectorUnit) -> tirx.PrimFunc:
    """Return the scheduled function of x, w1, b1, w2 and the result, all float32.

    The axes of the rows are symbolic: x (..., inputs), w1 (inputs, hidden), b1 (hidden),
    w2 (hidden, outputs), the result (..., outputs).
    """
    rows = [Var(f"rows_{axis}", "int64") for axis in range(sizes.axes)]
    shapes = {
        "x": (*rows, index(sizes.inputs)),
        "first_weight": (index(sizes.inputs), index(sizes.hidden)),
        "bias": (index(sizes.hidden),),
        "second_weight": (index(sizes.hidden), index(sizes.outputs)),
        "result": (*rows, index(sizes.outputs)),
    }
    tensors = [tirx.decl_buffer(shape, "float32", name) for name, shape in shapes.items()]
    code = Code(Lanes(unit.lanes))
    flat = [flat_view(tensor, code) for tensor in tensors]
    vectors = max(1, _SUMS[32 if unit.registers >= 32 else 16] // sizes.outputs)
    kernel = _Kernel(sizes, code.lanes, vectors, flat, product(rows))
    tasks = divide_up(kernel.rows, vectors * unit.lanes)
    code.add(loop(tasks, kernel.task, "task", tirx.ForKind.PARALLEL))
    return finished(tensors, code.body(), RULE)


@dataclass(frozen=True)
class _Kernel:
    """Emits one task: `vectors` vectors of rows. Beyond the end the last row comes again."""

    sizes: Sizes
    lanes: Lanes
    vectors: int
    buffers: Sequence[Var]
    rows: Expr

    def task(self, number: Expr) -> tirx.Stmt:
        """Return the statements of a task."""
        code, width = Code(self.lanes), self.vectors * self.lanes.count
        totals, allocation = scratch(index(self.sizes.outputs * width), "float32", "totals")
        code.add(*allocation)
        first = code.bind("first_row", number * width)
        places = [tirx.min(first + lane, self.rows - 1) for lane in range(width)]
        rows = [code.bind("row", place) for place in places]
        inputs = self._inputs(code, rows)

        def clear(cell: Expr) -> tirx.Stmt:
            return self.lanes.store(totals, self.lanes.number(0.0), cell * self.lanes.count)

        code.add(loop(index(self.sizes.outputs * self.vectors), clear, "cell"))
        whole, rest = divmod(self.sizes.hidden, _PASS)
        if whole:
            passes = loop(
                index(whole), lambda p: self._pass(inputs, totals, p * _PASS, _PASS), "pass"
            )
            code.add(passes)
        if rest:
            code.add(self._pass(inputs, totals, index(whole * _PASS), rest))
        code.add(self._store(totals, rows))
        return code.body()

    def _inputs(self, code: Code, rows: list[Expr]) -> list[list[Expr]]:
        """Return the vectors of each column of x."""
        x, columns, lanes = self.buffers[0], self.sizes.inputs, self.lanes.count
        found = []
        for column in range(columns):
            vectors = []
            for v in range(self.vectors):
                register = code.register("input")
                for lane in range(lanes):
                    value = tirx.BufferLoad(x, [rows[v * lanes + lane] * columns + column])
                    code.add(tirx.BufferStore(register, value, [index(lane)]))
                vectors.append(code.get(register))
            found.append(vectors)
        return found

    def _pass(self, inputs: list[list[Expr]], totals: Var, first: Expr, count: int) -> tirx.Stmt:
        """Return what adds the outputs' share of `count` hidden channels from `first` on."""
        _, first_weight, bias, second_weight, _ = self.buffers
        lanes, sizes, code = self.lanes, self.sizes, Code(self.lanes)
        sums = [[code.register("sum") for _ in range(self.vectors)] for _ in range(sizes.outputs)]
        for register in (register for row in sums for register in row):
            code.set(register, lanes.number(0.0))

        def channel(c: Expr) -> tirx.Stmt:
            inner = Code(lanes)
            hidden = inner.bind("hidden", first + c)
            values = []
            for v in range(self.vectors):
                value = lanes.splat(tirx.BufferLoad(bias, [hidden]))
                for i, column in enumerate(inputs):
                    weight = tirx.BufferLoad(first_weight, [hidden + i * sizes.hidden])
                    value = value + column[v] * lanes.splat(weight)
                values.append(inner.name("value", tirx.max(value, lanes.number(0.0))))
            for output, registers in enumerate(sums):
                weight = tirx.BufferLoad(second_weight, [hidden * sizes.outputs + output])
                weight = inner.name("weight", lanes.splat(weight))
                for register, value in zip(registers, values, strict=True):
                    inner.set(register, inner.get(register) + value * weight)
            return inner.body()

        code.add(loop(index(count), channel, "channel"))
        for output, registers in enumerate(sums):
            for v, register in enumerate(registers):
                at = (output * self.vectors + v) * lanes.count
                code.add(lanes.store(totals, lanes.load(totals, at) + code.get(register), at))
        return code.body()

    def _store(self, totals: Var, rows: list[Expr]) -> tirx.Stmt:
        """Return what writes the outputs of each row side by side."""
        result, count = self.buffers[-1], self.sizes.outputs
        width = len(rows)
        return tirx.SeqStmt(
            [
                tirx.BufferStore(
                    result,
                    tirx.BufferLoad(totals, [index(output * width + lane)]),
                    [row * count + output],
                )
                for lane, row in enumerate(rows)
                for output in range(count)
            ]
        )
