"""What kernels written by hand have in common: their frame, and a register tile and its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import tirx
from tvm.ir import Expr, Var
from tvm.s_tir.stmt import SBlock, SBlockRealize

from sam_tvm.kernels.bfloat16 import add_dot_pairs
from sam_tvm.kernels.expressions import product
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.vectors import Code, Lanes

LOAD_COST = 0.3  # of a load in multiplications, measured for dense products
_OPAQUE = 8  # kOpaque: nothing is fused with it


def flat_view(tensor: Var, code: Code) -> Var:
    """Declare a tensor as a buffer of one axis, and return that."""
    size = product(list(tensor.shape))
    flat = tirx.decl_buffer((size,), tensor.dtype, f"{tensor.name}_flat", data=tensor.data)
    code.add(tirx.DeclBuffer(flat, data=tensor.data))
    return flat


def finished(parameters: Sequence[Var], body: tirx.Stmt, rule: str) -> tirx.PrimFunc:
    """Return the scheduled function of a kernel's body.

    Args:
        parameters: of the function.
        body: what it does.
        rule: the name that reports give to what made it.
    """
    # Relax's passes expect a root block; nothing is left in it for them to schedule.
    root = SBlockRealize([], True, SBlock([], [], [], "root", body))
    function = tirx.PrimFunc(list(parameters), root).with_attr(
        {
            "sam_tvm.rule": rule,
            "tirx.is_scheduled": True,
            "tirx.noalias": True,
            "op_pattern": _OPAQUE,
        }
    )
    return tirx.transform.ConvertSSA()(tvm.IRModule({"main": function}))["main"]


def register_tile(columns: int, unit: VectorUnit, most_rows: int) -> tuple[int, int]:
    """Return vectors and rows of the register tile that should take the least time.

    Its width is a panel's of the weight, whose last one may be mostly padding.

    Args:
        columns: of the weight.
        unit: the target's vector unit.
        most_rows: that a tile may have.
    """
    widest = 4 if unit.registers == 32 else 2

    def rows(vectors: int) -> int:
        return min(most_rows, (unit.registers - 1 - vectors) // vectors)

    def cost(vectors: int) -> float:
        width, count = vectors * unit.lanes, rows(vectors)
        computed = -(-columns // width) * width
        return computed * (1 + LOAD_COST * (vectors + count) / (vectors * count))

    vectors = min(range(1, widest + 1), key=cost)
    return vectors, rows(vectors)


def add_outer_product(
    lanes: Lanes,
    sums: Mapping[tuple[int, int], Var],
    vectors: Sequence[Expr],
    scalars: Sequence[Expr],
    pairs: bool = False,
) -> tirx.Stmt:
    """Add scalar r times vector v to register (r, v) of a tile, for all of them.

    Args:
        lanes: of the vectors.
        sums: registers by row and vector.
        vectors: loads; each is done once.
        scalars: loads, one for each row.
        pairs: whether both are pairs of bfloat16, and their two products are added.
    """
    statements: list[tirx.Stmt] = []

    def bound(name: str, value: Expr) -> Var:
        statements.append(tirx.Bind(Var(name, value.ty), value))
        return statements[-1].var

    columns = [bound(f"x_{v}", vector) for v, vector in enumerate(vectors)]
    for r, scalar in enumerate(scalars):
        row = bound(f"y_{r}", lanes.splat(scalar))
        for v, column in enumerate(columns):
            total = lanes.load(sums[r, v], 0)
            total = add_dot_pairs(total, row, column) if pairs else total + row * column
            statements.append(lanes.store(sums[r, v], total, 0))
    return tirx.SeqStmt(statements)
