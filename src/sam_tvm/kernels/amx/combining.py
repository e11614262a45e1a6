"""Sums of digits' products (int32, a set for each level), which become float32 sums.

A vector of a row of a block is

    sums = (keep and sums) + ((level 0 + level 1 / 2**8 + level 2 / 2**16) * row scale) * scales

with the scales of `digits.py`: what waits after a pass is combined beside the products of the next.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.digits import LEVELS
from sam_tvm.kernels.amx.instructions import (
    BLOCK,
    PANEL,
    TILE,
    WORD,
    address,
    call,
    in_all_lanes,
    repeated,
)
from sam_tvm.kernels.vectors import index

SIZE = BLOCK * PANEL  # elements of a block of sums, which lie side by side
# Vectors combined beside each step of a level, by the most steps of a pass: all 64 of a block.
_VECTORS = {4: (2, 6, 8), 8: (2, 2, 4), 16: (0, 2, 2)}
_PER_ROW = PANEL // TILE
_LEVEL = SIZE * WORD  # bytes between the sums of levels

_FMA = "call <16 x float> @llvm.fma.v16f32"
_ARGUMENTS = ", ptr %to, ptr %from, ptr %row_scales, ptr %scales, i32 %keep"


def _prepare() -> list[str]:
    """Return what is done once: the columns' scales, and the mask of what is kept."""
    lines = [
        "  %keep_bits = trunc i32 %keep to i16",
        "  %kept = bitcast i16 %keep_bits to <16 x i1>",
    ]
    for h in range(_PER_ROW):
        lines.append(f"  %sp{h} = getelementptr i8, ptr %scales, i64 {h * TILE * WORD}")
        lines.append(f"  %scale{h} = load <16 x float>, ptr %sp{h}, align 4")
    return lines


def _levels(v: int) -> list[str]:
    """Return what leaves the sums of a vector's levels, added up in their scale, in %total."""
    lines = [f"  %at{v} = add i64 %begin, {v * TILE * WORD}"]
    for n in range(len(LEVELS)):
        name = f"{v}_{n}"
        lines += [
            f"  %a{name} = add i64 %at{v}, {n * _LEVEL}",
            f"  %p{name} = getelementptr i8, ptr %from, i64 %a{name}",
            f"  %i{name} = load <16 x i32>, ptr %p{name}, align 64",
            f"  %f{name} = sitofp <16 x i32> %i{name} to <16 x float>",
        ]
    total = f"%f{v}_0"
    for n in range(1, len(LEVELS)):
        name = f"%n{v}_{n}" if n + 1 < len(LEVELS) else f"%total{v}"
        below = f"<16 x float> {in_all_lanes(2.0 ** (-8 * n))}"
        lines.append(f"  {name} = {_FMA}(<16 x float> %f{v}_{n}, {below}, <16 x float> {total})")
        total = name
    return lines


def _vector(v: int) -> list[str]:
    """Return what combines vector `v` of those from byte %begin and row %row on."""
    return [
        *_levels(v),
        f"  %ra{v} = add i64 %row, {v // _PER_ROW}",
        f"  %rp{v} = getelementptr float, ptr %row_scales, i64 %ra{v}",
        f"  %r{v} = load float, ptr %rp{v}, align 4",
        f"  %ri{v} = insertelement <16 x float> poison, float %r{v}, i32 0",
        f"  %rs{v} = shufflevector <16 x float> %ri{v}, <16 x float> poison,"
        " <16 x i32> zeroinitializer",
        f"  %o{v} = fmul <16 x float> %total{v}, %rs{v}",
        f"  %t{v} = getelementptr i8, ptr %to, i64 %at{v}",
        f"  %k{v} = call <16 x float> @llvm.masked.load.v16f32.p0(ptr %t{v}, i32 64,"
        f" <16 x i1> %kept, <16 x float> zeroinitializer)",
        f"  %s{v} = {_FMA}(<16 x float> %o{v}, <16 x float> %scale{v % _PER_ROW},"
        f" <16 x float> %k{v})",
        f"  store <16 x float> %s{v}, ptr %t{v}, align 64",
    ]


def vectors_beside(steps: int) -> tuple[int, ...]:
    """Return how many vectors are combined beside each step of a level, in passes of so many steps.

    Raises:
        ValueError: passes are not that long.
    """
    for most, vectors in _VECTORS.items():
        if steps <= most:
            return vectors
    raise ValueError(f"{steps} steps of a pass would combine more sums than a block has")


def counts_beside(level: int) -> list[int]:
    """Return all that `vectors_beside` has for a level."""
    return sorted({vectors[level] for vectors in _VECTORS.values()})


def combine_vectors(count: int) -> tuple[str, list[str], list[str]]:
    """Return what combines `count` vectors beside each step %i of a function in LLVM IR.

    Returns:
        The function's further arguments, what comes before its loop, and what is in it.
    """
    lines = [
        f"  %begin = mul i64 %i, {count * TILE * WORD}",
        f"  %row = mul i64 %i, {count // _PER_ROW}",
    ]
    for v in range(count):
        lines += _vector(v)
    return _ARGUMENTS, _prepare(), lines


def combining_text() -> str:
    """Return the LLVM IR of the function that combines a number of rows."""
    _, before, lines = combine_vectors(_PER_ROW)
    return f"""
define i32 @sam_tvm_tiles_combine({_ARGUMENTS[2:]}, i64 %rows) alwaysinline {{
entry:
{chr(10).join(before)}
{repeated(lines, "%rows")}"""


def combine(waiting: Sequence[Expr], rows: Expr) -> tirx.Stmt:
    """Combine `rows` rows of a block.

    Args:
        waiting: see `arguments`.
        rows: how many.
    """
    return call("sam_tvm_tiles_combine", *waiting, rows)


def arguments(
    to: tuple[Var, Expr],
    source: tuple[Var, Expr],
    row_scales: tuple[Var, Expr],
    scales: tuple[Var, Expr],
    keep: Expr,
    vectors: Expr,
) -> tuple[Expr, ...]:
    """Return the arguments of what combines, from the block's vector number `vectors` on.

    Args:
        to: buffer and position of a block of float32 sums.
        source: of int32 sums, a block for each level.
        row_scales: of its rows' scales.
        scales: of its columns' scales.
        keep: int32, all bits set to add to the sums, 0 to overwrite them.
        vectors: an even number.
    """
    at, rows = vectors * TILE, tirx.truncdiv(vectors, index(_PER_ROW))
    return (
        address(to[0], to[1] + at),
        address(source[0], source[1] + at),
        address(row_scales[0], row_scales[1] + rows),
        address(*scales),
        keep,
    )
