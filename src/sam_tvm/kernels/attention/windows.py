"""Attention inside windows of rows that a table names: each window as long as it is, no padding.

The kernel is the flash attention of `kernel.py` with two differences: the rows of an operand are
those that the table names, and the lengths are a window's own, counted when its task begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.ir import Expr, Var
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.attention.kernel import RULE, Task, with_instructions
from sam_tvm.kernels.attention.plan import Plan
from sam_tvm.kernels.attention.problem import Attention, Shape, slots_for, tile_shape, unknown_whole
from sam_tvm.kernels.expressions import divide, divide_up, remainder
from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.graph.rewriting import rewriting_pass
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.target_features import VectorUnit, vector_unit
from sam_tvm.kernels.vectors import Code, Lanes, index
from sam_tvm.patches.packed_functions import WINDOWED_ATTENTION


@dataclass(frozen=True)
class TableOperand(Operand):
    """An operand whose position in a window is a row that the table names, from 1.

    Attributes:
        table: flat, windows after one another.
        longest: positions of a window in the table.
    """

    table: Var
    longest: Expr

    def at(self, *position: Expr | int) -> Expr:
        """Return the linear position of an element of (window, head, position, channel)."""
        window, head, place, channel = position
        named = tirx.BufferLoad(self.table, [window * self.longest + place])
        return super().at(0, head, tirx.Cast("int64", named) - 1, channel)

    def foreseen(self, *position: Expr | int) -> None:
        """Return nothing: the table decides."""
        return


def place_windows(target: tvm.target.Target | str, precision: str) -> tvm.ir.transform.Pass:
    """Return a pass that replaces every windowed attention by a call of a kernel made for it.

    Args:
        target: an LLVM target.
        precision: ``float32``, or ``bfloat16`` for the operands of products.

    Raises:
        UnsupportedPrecisionError: unknown, or there are no kernels of it for the target's CPU.
    """
    target = tvm.target.Target(target)
    unit, bfloat16 = vector_unit(target), panels_for(target, precision).bfloat16

    return rewriting_pass(
        "SamTvmPlaceWindowedAttention", lambda module: _Placer(module, unit, bfloat16)
    )


def is_windowed_attention(call: relax.Expr) -> bool:
    """Tell whether an expression is the call that the importer leaves."""
    if operator_name(call) != "relax.call_dps_packed":
        return False
    function = call.args[0]
    return isinstance(function, relax.ExternFunc) and function.global_symbol == WINDOWED_ATTENTION


@mutator
class _Placer(PyExprMutator):
    def __init__(self, module: tvm.IRModule, unit: VectorUnit, bfloat16: bool) -> None:
        super().__init__(module)
        self.unit, self.bfloat16 = unit, bfloat16
        self.kernels: dict[tuple[int, int], tvm.ir.GlobalVar] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Replace one call, if it is windowed attention."""
        if not is_windowed_attention(call):
            return super().visit_call_(call)
        qkv, windows, _ = call.args[1].fields
        heads, depth = (int(qkv.ty.shape[axis]) for axis in (2, 3))
        if (heads, depth) not in self.kernels:
            function = windowed_function(heads, depth, self.unit, self.bfloat16)
            self.kernels[heads, depth] = self.builder_.add_func(function, RULE)
        tensors = [self.visit_expr(tensor) for tensor in (qkv, windows)]
        return relax.call_tir(self.kernels[heads, depth], tensors, call.ty)


def windowed_function(heads: int, depth: int, unit: VectorUnit, bfloat16: bool) -> tirx.PrimFunc:
    """Return the scheduled function of qkv (N, 3, heads, depth), windows (W, L) and the result.

    N, W and L are symbolic.

    Args:
        heads: how many.
        depth: channels of one.
        unit: the target's vector unit.
        bfloat16: whether to multiply pairs of bfloat16; needs AVX512-BF16.
    """
    rows, count, longest = (Var(name, "int64") for name in ("rows", "windows", "longest"))
    width = heads * depth
    qkv = tirx.decl_buffer((rows, 3, heads, depth), "float32", "qkv")
    table = tirx.decl_buffer((count, longest), "int32", "table")
    output = tirx.decl_buffer((rows, width), "float32", "output")
    code = Code(Lanes(unit.lanes))
    flat = [flat_view(tensor, code) for tensor in (qkv, table, output)]
    shape = tile_shape(longest, longest, depth, unit, bfloat16)

    def operand(argument: int, offset: int, row: int) -> TableOperand:
        strides = ((heads, depth), (rows, row), (depth, 1))
        axes = ((), *(((index(n), index(step)),) for n, step in strides))
        return TableOperand(argument, index(offset), axes, flat[1], longest)

    def task(number: Expr) -> tirx.Stmt:
        inner = Code(code.lanes)
        window = inner.bind("window", divide(number, heads))
        head = inner.bind("head", remainder(number, heads))
        length = _length(inner, flat[1], window, longest)
        query, key, value = (operand(0, part * width, 3 * width) for part in range(3))
        attention = Attention(
            batch=count,
            heads=index(heads),
            queries=length,
            keys=length,
            depth=depth,
            value_depth=depth,
            query=query,
            key=key,
            value=value,
            output=operand(2, 0, width),
            bias=None,
            scale=depth**-0.5,
            causal=None,
        )
        _attend(inner, attention, flat, (window, head), unit.lanes, shape)
        return inner.body()

    code.add(loop(count * heads, task, "task", tirx.ForKind.PARALLEL))
    return finished([qkv, table, output], with_instructions(code.body(), shape), RULE)


def _length(code: Code, table: Var, window: Expr, longest: Expr) -> Expr:
    """Add the count of a window's rows, and return what reads it."""
    length = tirx.decl_buffer((1,), "int64", "length")
    here = [index(0)]
    code.add(tirx.AllocBuffer(length), tirx.BufferStore(length, index(0), here))
    start = code.bind("window_start", window * longest)

    def one(place: Expr) -> tirx.Stmt:
        there = tirx.Cast("int64", tirx.BufferLoad(table, [start + place]) > 0)
        return tirx.BufferStore(length, tirx.BufferLoad(length, here) + there, here)

    code.add(loop(longest, one, "place"))
    return tirx.BufferLoad(length, here)


def _attend(
    code: Code,
    attention: Attention,
    flat: list[Var],
    head: tuple[Expr, Expr],
    lanes: int,
    shape: Shape,
) -> None:
    """Add a window's attention for one head: as many blocks of queries at a time as memory has."""
    vectors = divide_up(attention.queries, lanes)
    whole = code.bind("whole", unknown_whole(vectors, shape.vectors))
    slots = slots_for(shape, lanes, attention)
    groups = code.bind("groups", tirx.max(divide_up(whole, slots), index(1)))
    tile = shape.tile(lanes, shape.most_keys, whole, 1, slots, index(slots), groups)
    plan = Plan(attention, tile, tuple(flat))
    memory = plan.allocate(code)

    def group(number: Expr) -> tirx.Stmt:
        inner = Code(code.lanes)
        first = inner.bind("first_block", number * slots)
        count = inner.bind("block_count", tirx.min(index(slots), whole - first))
        is_last = tirx.EQ(number, groups - 1)
        inner.add(Task(plan, memory, head, first, count, whole, is_last).emit())
        return inner.body()

    code.add(loop(groups, group, "group"))
