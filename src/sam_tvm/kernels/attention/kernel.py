"""The flash attention PrimFunc: tasks, and in each the passes over the keys.

A task takes several blocks of queries of one head through each pass, so that the keys and values it
copies serve them all. Scores exist for one block and one pass only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx import instructions as tiles
from sam_tvm.kernels.amx.library import import_tiles
from sam_tvm.kernels.attention import keys, tile_operands
from sam_tvm.kernels.attention.block import Block
from sam_tvm.kernels.attention.plan import Memory, Plan
from sam_tvm.kernels.attention.powers import import_powers
from sam_tvm.kernels.attention.problem import Attention, Shape, Tile, choose_tile
from sam_tvm.kernels.attention.queries import Head
from sam_tvm.kernels.attention.tile_block import TileBlock
from sam_tvm.kernels.bfloat16_instructions import import_instructions
from sam_tvm.kernels.expressions import constant_value, divide, divide_up, remainder
from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.loops import loop, sequence
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.vectors import Code, Lanes, index

RULE = "attention"


def attention_function(
    attention: Attention,
    shapes: Sequence[Sequence[Expr]],
    dtypes: Sequence[str],
    sizes: Sequence[Var],
    unit: VectorUnit,
    bfloat16: bool,
) -> tirx.PrimFunc:
    """Return the scheduled function.

    Args:
        attention: what to compute.
        shapes: of the tensors that its operands refer to, the output last.
        dtypes: of them: float32, or uint16 that hold bfloat16.
        sizes: symbolic sizes, which are parameters between the inputs and the output.
        unit: the target's vector unit.
        bfloat16: whether to multiply pairs of bfloat16; needs AVX512-BF16.

    """
    names = [*(f"operand_{i}" for i in range(len(shapes) - 1)), "output"]
    tensors = [
        tirx.decl_buffer(tuple(shape), dtype, name)
        for shape, dtype, name in zip(shapes, dtypes, names, strict=True)
    ]
    code = Code(Lanes(unit.lanes))
    flat = tuple(flat_view(tensor, code) for tensor in tensors)
    plan = Plan(attention, choose_tile(attention, unit, bfloat16), flat)
    code.add(_emit(plan))
    parameters = [*tensors[:-1], *sizes, tensors[-1]]
    return finished(parameters, with_instructions(code.body(), plan.tile), RULE)


def with_instructions(body: tirx.Stmt, tile: Tile | Shape) -> tirx.Stmt:
    """Return a kernel's body with the instructions that its tiles need."""
    if tile.has_powers:
        body = import_powers(body)
    if tile.parts:
        return import_tiles(sequence([tiles.permit(), body]))
    return import_instructions(body) if tile.bfloat16 else body


def _emit(plan: Plan) -> tirx.Stmt:
    a, t = plan.attention, plan.tile
    code = Code(plan.lanes)
    whole, groups = code.bind("whole", t.whole), code.bind("groups", t.groups)
    blocks = code.bind("blocks", t.blocks)

    def task(number: Expr) -> tirx.Stmt:
        inner = Code(plan.lanes)
        position = inner.bind("position", divide(number, groups))
        group = inner.bind("group", remainder(number, groups))
        image = inner.bind("image", divide(position, a.heads))
        head = (image, inner.bind("head", remainder(position, a.heads)))
        memory = plan.allocate(inner)
        first = inner.bind("first_block", group * blocks)
        count = blocks
        if constant_value(blocks) is None or constant_value(whole) % constant_value(blocks):
            count = inner.bind("block_count", tirx.min(blocks, whole - first))
        is_last = tirx.EQ(group, groups - 1)
        inner.add(Task(plan, memory, head, first, count, whole, is_last).emit())
        return inner.body()

    tasks = a.batch * a.heads * groups
    code.add(loop(tasks, task, "task", tirx.ForKind.PARALLEL))
    return code.body()


@dataclass(frozen=True)
class Task:
    """Blocks of queries of one head.

    Attributes:
        plan: the kernel.
        memory: the task's scratch memory.
        head: number of the batch's item, and of the head in it.
        first, count: which blocks.
        whole: how many blocks the head has, the narrow one apart.
        is_last: whether it is the head's last task, which has the narrow block.

    """

    plan: Plan
    memory: Memory
    head: Head
    first: Expr
    count: Expr
    whole: Expr
    is_last: Expr

    def emit(self) -> tirx.Stmt:
        """Return everything that the task does."""
        passes = divide_up(self.plan.attention.keys, self.plan.tile.keys)
        steps = [
            self._each(lambda block: block.begin()),
            loop(passes, self._pass, "pass"),
            self._each(lambda block: block.end()),
        ]
        if self.plan.tile.parts:
            steps = [tiles.configure(), *steps, tiles.release()]
        return sequence(steps)

    def _each(self, act: Callable[[Block], tirx.Stmt]) -> tirx.Stmt:
        """Return `act` for every block."""
        plan, t = self.plan, self.plan.tile

        def block(slot: Expr, number: Expr, vectors: int) -> tirx.Stmt:
            code = Code(plan.lanes)
            query = code.bind("first_query", number * t.width)
            kind = TileBlock if t.parts else Block
            code.add(act(kind(plan, self.memory, self.head, slot, query, vectors)))
            return code.body()

        statements = []
        if constant_value(self.whole) != 0:
            statements.append(
                loop(self.count, lambda b: block(b, self.first + b, t.vectors), "block")
            )
        if t.rest:
            exists = self.is_last
            if constant_value(self.whole) is None:
                left = self.whole * t.width < plan.attention.queries
                exists = tirx.And(exists, left)
            narrow = block(index(t.slots), self.whole, t.rest)
            statements.append(tirx.IfThenElse(exists, narrow, None))
        return sequence(statements)

    def _pass(self, number: Expr) -> tirx.Stmt:
        """Return one pass over keys: copy them and their values, then take the blocks through."""
        plan, size, all_keys = self.plan, self.plan.tile.keys, self.plan.attention.keys
        code = Code(plan.lanes)
        first = code.bind("first_key", number * size)
        known = constant_value(all_keys)
        if known is not None and (known % size == 0 or known < size):
            count = index(min(known, size))
        else:
            count = code.bind("key_count", tirx.min(index(size), all_keys - first))
        operands = tile_operands if plan.tile.parts else keys
        code.add(operands.load_keys(plan, self.memory, self.head, first, count))
        code.add(operands.load_values(plan, self.memory, self.head, first, count))
        code.add(self._each(lambda block: block.one_pass(first, count)))
        return code.body()
