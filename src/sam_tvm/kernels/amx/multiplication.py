"""Products of tiles, as functions in LLVM IR that TIR calls: operands, and what happens beside.

Registers 4 and 5 hold rows of Y, 6 and 7 columns of X. A tile of Y has 16 rows of 16 words, one of
X 16 words by 16 columns; a word is two bfloat16 or four int8, which are neighbours in the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.combining import combine_vectors, counts_beside
from sam_tvm.kernels.amx.digits import LEVELS
from sam_tvm.kernels.amx.instructions import (
    PANEL,
    SHAPES,
    TILE,
    WORD,
    address,
    call,
    repeated,
    sums_of,
)
from sam_tvm.kernels.amx.parts import WHOLE, Product, products_of
from sam_tvm.kernels.vectors import index

_Y, _X = 4, 6
_PANEL_ROW = PANEL * WORD
_PANEL_STEP = TILE * _PANEL_ROW
_ADDED = 8  # vectors that are added beside each step: 64, a block, beside 8 steps

_DECLARATIONS = """
declare void @llvm.x86.tdpbf16ps(i8, i8, i8)
declare void @llvm.x86.tdpbssd(i8, i8, i8)
"""


@dataclass(frozen=True)
class Operands:
    """What tiles read: buffers of uint32.

    Attributes:
        y, y_at: rows of Y, and the position of the first word.
        y_row, y_part: words between rows, and between parts of the numbers.
        x, x_at: rows of a panel of X, and the position of the first word.
        x_part: words between parts.
        steps: tiles along the sum.
    """

    y: Var
    y_at: Expr
    y_row: Expr | int
    y_part: Expr | int
    x: Var
    x_at: Expr
    x_part: Expr | int
    steps: Expr

    def arguments(self) -> tuple[Expr, ...]:
        """Return what the functions take."""
        return (
            address(self.y, self.y_at),
            index(self.y_row) * WORD,
            index(self.y_part) * WORD,
            address(self.x, self.x_at),
            index(self.x_part) * WORD,
            index(self.steps),
        )


def _products(shape: tuple[int, int], products: Sequence[Product], instruction: str) -> list[str]:
    """Return what multiplies parts of a step; tiles that neighbours share are loaded once."""
    rows, columns = shape
    lines: list[str] = []

    def load(operand: str, part: int, registers: range, starts: str, step: str) -> None:
        offset = f"%{operand}o{len(lines)}"
        lines.append(f"  {offset} = mul i64 %{operand}_part, {part}")
        for n, register in enumerate(registers):
            name = f"%{operand}a{len(lines)}"
            start = f"%{operand}{starts[n]}"
            lines.append(f"  {name} = getelementptr i8, ptr {start}, i64 {offset}")
            lines.append(
                f"  call void @llvm.x86.tileloadd64(i8 {register}, ptr {name}, i64 {step})"
            )

    held: tuple[int | None, int | None] = (None, None)
    for i, j in products:
        if held[0] != i:
            load("y", i, range(_Y, _Y + rows), "pq", "%y_row")
        if held[1] != j:
            load("x", j, range(_X, _X + columns), "pq", str(_PANEL_ROW))
        held = (i, j)
        for n, r, c in sums_of(rows, columns):
            lines.append(f"  call void @llvm.x86.{instruction}(i8 {n}, i8 {_Y + r}, i8 {_X + c})")
    return lines


def _added() -> list[str]:
    """Return what adds vectors at %from to those at %to, beside step %i."""
    lines = [f"  %begin = mul i64 %i, {_ADDED * TILE * WORD}"]
    for v in range(_ADDED):
        lines.append(f"  %at{v} = add i64 %begin, {v * TILE * WORD}")
        lines.append(f"  %tp{v} = getelementptr i8, ptr %to, i64 %at{v}")
        lines.append(f"  %fp{v} = getelementptr i8, ptr %from, i64 %at{v}")
        lines.append(f"  %t{v} = load <16 x float>, ptr %tp{v}, align 64")
        lines.append(f"  %f{v} = load <16 x float>, ptr %fp{v}, align 64")
        lines.append(f"  %s{v} = fadd <16 x float> %t{v}, %f{v}")
        lines.append(f"  store <16 x float> %s{v}, ptr %tp{v}, align 64")
    return lines


def _function(name: str, more: str, before: Sequence[str], lines: Sequence[str]) -> str:
    """Return a function whose `lines` are repeated for each step."""
    places = [
        f"  %yt = mul i64 %i, {TILE * WORD}",
        f"  %xt = mul i64 %i, {_PANEL_STEP}",
        "  %yp = getelementptr i8, ptr %y, i64 %yt",
        "  %yq = getelementptr i8, ptr %yp, i64 %down",
        "  %xp = getelementptr i8, ptr %x, i64 %xt",
        f"  %xq = getelementptr i8, ptr %xp, i64 {TILE * WORD}",
    ]
    return f"""
define i32 @{name}(
  ptr %y, i64 %y_row, i64 %y_part, ptr %x, i64 %x_part, i64 %steps{more}) alwaysinline {{
entry:
  %down = mul i64 %y_row, {TILE}
{chr(10).join(before)}
{repeated([*places, *lines], "%steps")}"""


def _name(kind: str, shape: tuple[int, int], products: Sequence[Product]) -> str:
    parts = "_".join(f"{i}{j}" for i, j in products)
    return f"sam_tvm_tiles_{kind}_{shape[0]}{shape[1]}_{parts}"


def multiplication_text() -> str:
    """Return the LLVM IR of all functions."""
    listings = {p for y, x in ((WHOLE, 1), (WHOLE, WHOLE)) for p in products_of(y, x)}
    parts = [_DECLARATIONS]
    for shape in SHAPES:
        for listed in sorted(listings):
            lines = _products(shape, listed, "tdpbf16ps")
            parts.append(_function(_name("multiply", shape, listed), "", [], lines))
            name, more = _name("multiply_adding", shape, listed), ", ptr %to, ptr %from"
            parts.append(_function(name, more, [], [*lines, *_added()]))
        for level, listed in enumerate(LEVELS):
            lines = _products(shape, listed, "tdpbssd")
            for count in counts_beside(level):
                more, before, combined = combine_vectors(count)
                name = _name(f"multiply_combining_{count}", shape, listed)
                parts.append(_function(name, more, before, [*lines, *combined]))
    return "\n".join(parts)


# -- calls ------------------------------------------------------------------------------------


def multiply(shape: tuple[int, int], products: Sequence[Product], operands: Operands) -> tirx.Stmt:
    """Add products of bfloat16 to the sums, 32 terms a step.

    Args:
        shape: tiles along rows and columns.
        products: which parts meet.
        operands: see there.
    """
    return call(_name("multiply", shape, products), *operands.arguments())


def multiply_adding(
    shape: tuple[int, int],
    products: Sequence[Product],
    operands: Operands,
    to: tuple[Var, Expr],
    source: tuple[Var, Expr],
) -> tirx.Stmt:
    """Multiply, and add vectors of float32 in memory to others while the tiles are busy.

    Args:
        shape: see `multiply`, as for all up to `operands`.
        products: which parts meet.
        operands: see there.
        to: buffer and position of the sums, which begin a cache line.
        source: buffer and position of what is added to them, `added_by(steps)` elements.
    """
    name = _name("multiply_adding", shape, products)
    return call(name, *operands.arguments(), address(*to), address(*source))


def added_by(steps: Expr | int) -> Expr | int:
    """Return how many elements so many steps of `multiply_adding` add."""
    return steps * (_ADDED * TILE)


def multiply_combining(
    shape: tuple[int, int],
    level: int,
    operands: Operands,
    waiting: Sequence[Expr],
    vectors: int,
) -> tirx.Stmt:
    """Add the products of digits of a level to the sums (int32), 64 terms a step.

    Meanwhile some vectors of what waits are combined (`combining.py`).

    Args:
        shape: tiles along rows and columns.
        level: which of `digits.LEVELS`.
        operands: see there.
        waiting: arguments of what combines, from the first vector on.
        vectors: how many beside each step.
    """
    name = _name(f"multiply_combining_{vectors}", shape, LEVELS[level])
    return call(name, *operands.arguments(), *waiting)
