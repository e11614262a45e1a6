"""Numbers as bfloat16 for the tiles: rounded once, or in three parts that hold a float32.

A float32 has 24 bits, a bfloat16 eight. Each part is what the ones before it left, so that three
add up to the number; products of parts that are below its last bit are left out.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.bfloat16 import pair_lanes, round_pairs
from sam_tvm.kernels.bfloat16_instructions import HARDWARE

WHOLE = 3  # parts that hold a float32

Product = tuple[int, int]


def products_of(y_parts: int, x_parts: int) -> tuple[tuple[Product, ...], ...]:
    """Return which parts of Y meet which of X: those that count, and those that are added first.

    Part i is at most 2**-8i of the number: products beyond 2**-16 are below a float32's last bit.
    All small ones go before the large ones (those of both first parts): each addition rounds the
    sum, which is small as long as only they are in it. Neighbours share a part.
    """
    small = []
    for i in range(y_parts):
        columns = [j for j in range(x_parts) if 0 < i + j < WHOLE]
        small += [(i, j) for j in (columns if i % 2 else columns[::-1])]
    large = ((0, 0),)
    return (tuple(small), large) if small else (large,)


def _bits(operand: str, part: int, is_rounded: bool = True) -> str:
    """Return what leaves a part of %operand in the high halves of %operand_part, as integers.

    All but the last part are rounded half away from zero, which is one addition, or are the bits
    as they are; the last is what is left, and has eight bits. A NaN stays one in the last part.
    """
    lines, rest = [], f"%{operand}"
    for p in range(part + 1):
        name = f"%{operand}_{p}"
        lines.append(f"  {name}_b = bitcast <16 x float> {rest} to <16 x i32>")
        if p == WHOLE - 1:
            lines.append(f"  {name} = and <16 x i32> {name}_b, splat (i32 -65536)")
            break
        half = 32768 if is_rounded else 0
        lines.append(f"  {name}_s = add <16 x i32> {name}_b, splat (i32 {half})")
        lines.append(f"  {name} = and <16 x i32> {name}_s, splat (i32 -65536)")
        if p < part:
            lines.append(f"  {name}_f = bitcast <16 x i32> {name} to <16 x float>")
            lines.append(f"  {name}_r = fsub <16 x float> {rest}, {name}_f")
            rest = f"{name}_r"
    return "\n".join(lines)


def _split(part: int) -> str:
    """Return the functions that cut a part off vectors of float32: side by side, and paired."""
    return f"""
define <8 x i32> @sam_tvm_part_{part}(<16 x float> %x) {{
{_bits("x", part)}
  %h = lshr <16 x i32> %x_{part}, splat (i32 16)
  %t = trunc <16 x i32> %h to <16 x i16>
  %r = bitcast <16 x i16> %t to <8 x i32>
  ret <8 x i32> %r
}}
{_paired("part", part, is_rounded=True)}
{_paired("piece", part, is_rounded=False)}
"""


def _paired(name: str, part: int, is_rounded: bool) -> str:
    return f"""
define <16 x i32> @sam_tvm_pair_{name}_{part}(<16 x float> %e, <16 x float> %o) {{
{_bits("e", part, is_rounded)}
{_bits("o", part, is_rounded)}
  %h = lshr <16 x i32> %e_{part}, splat (i32 16)
  %r = or <16 x i32> %h, %o_{part}
  ret <16 x i32> %r
}}
"""


def parts_text() -> str:
    """Return the functions that round and cut, in LLVM IR."""
    return "\n".join([HARDWARE, *(_split(part) for part in range(WHOLE))])


def parts_of(count: int, values: Expr) -> list[Expr]:
    """Return float32x16 as so many bfloat16 parts, each uint32x8: one is the rounded number."""
    if count == 1:
        return [round_pairs(values)]
    return [tirx.call_extern("uint32x8", f"sam_tvm_part_{p}", values) for p in range(count)]


def pair_parts(count: int, even: Expr, odd: Expr) -> list[Expr]:
    """Return the parts of two float32x16, each uint32x16 with `even` in the low halves."""
    if count == 1:
        return [pair_lanes(even, odd)]
    names = [f"sam_tvm_pair_part_{p}" for p in range(count)]
    return [tirx.call_extern("uint32x16", name, even, odd) for name in names]


def pair_pieces(count: int, even: Expr, odd: Expr) -> list[Expr]:
    """Return parts of two float32x16 that are not rounded but cut off: fewer instructions.

    The products that are left out are twice as large then, of numbers that are all positive.
    """
    if count == 1:
        return [pair_lanes(even, odd)]
    names = [f"sam_tvm_pair_piece_{p}" for p in range(count)]
    return [tirx.call_extern("uint32x16", name, even, odd) for name in names]
