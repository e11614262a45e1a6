"""Words of digits from float32, in LLVM IR: what rows of Y and panels of X have in common.

A word holds four terms, which are 16 apart. So rows of Y, whose terms lie side by side, and panels
of X, whose columns do, are cut by the same instructions: vectors of 16 terms of a row, or four rows
of a panel, become one vector of words for each digit.
"""

from __future__ import annotations

from sam_tvm.kernels.amx.digits import DIGITS
from sam_tvm.kernels.amx.instructions import TILE

QUARTERS = 4  # vectors whose terms share words

FLOATS, INTEGERS, MASK = "<16 x float>", "<16 x i32>", "<16 x i1>"

_DECLARATIONS = f"""
declare {INTEGERS} @llvm.umax.v16i32({INTEGERS}, {INTEGERS})
declare i32 @llvm.vector.reduce.umax.v16i32({INTEGERS})
declare {INTEGERS} @llvm.x86.avx512.mask.cvtps2dq.512({FLOATS}, {INTEGERS}, i16, i32)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""


def _bytes(mask: int) -> str:
    """Return a constant of 32 bits in all lanes."""
    return f"splat (i32 {mask - (1 << 32) if mask >> 31 else mask})"


def _words() -> str:
    """Return the function that cuts four vectors: word i of a digit is that of their numbers i.

    They are four times the same after scaling: round, and add half of each digit's range, which
    makes the digits positive. Their bytes change places, two by two, and lose the half again.
    """
    lines = []
    for v in range(QUARTERS):
        lines += [
            f"  %p{v} = fmul {FLOATS} %x{v}, %q",
            f"  %r{v} = call {INTEGERS} @llvm.x86.avx512.mask.cvtps2dq.512({FLOATS} %p{v},"
            f" {INTEGERS} zeroinitializer, i16 -1, i32 4)",
            f"  %v{v} = add {INTEGERS} %r{v}, {_bytes(0x00808080)}",
        ]

    def joined(name: str, a: str, b: str, low: int, shifted: tuple[str, int]) -> None:
        """Take the bits `low` of a, and the others of b; one of them is shifted first."""
        which, bits = shifted
        operands = {"a": a, "b": b}
        shift = "shl" if bits > 0 else "lshr"
        lines.append(f"  {name}_s = {shift} {INTEGERS} {operands[which]}, splat (i32 {abs(bits)})")
        operands[which] = f"{name}_s"
        lines.append(f"  {name}_a = and {INTEGERS} {operands['a']}, {_bytes(low)}")
        lines.append(f"  {name}_b = and {INTEGERS} {operands['b']}, {_bytes(low ^ 0xFFFFFFFF)}")
        lines.append(f"  {name} = or {INTEGERS} {name}_a, {name}_b")

    halves = 0x0000FFFF
    for n, (a, b) in enumerate((("%v0", "%v1"), ("%v2", "%v3"))):
        joined(f"%low{n}", a, b, halves, ("b", 16))
        joined(f"%high{n}", a, b, halves, ("a", -16))
    odd = 0x00FF00FF
    joined("%u0", "%high0", "%high1", odd, ("b", 8))
    joined("%u1", "%low0", "%low1", odd, ("a", -8))
    joined("%u2", "%low0", "%low1", odd, ("b", 8))
    for d in range(DIGITS):
        lines.append(f"  %d{d} = xor {INTEGERS} %u{d}, {_bytes(0x80808080)}")
        lines.append(f"  %part{d} = mul i64 %part, {d}")
        lines.append(f"  %tp{d} = getelementptr i8, ptr %to, i64 %part{d}")
        lines.append(f"  store {INTEGERS} %d{d}, ptr %tp{d}, align 64")
    body = "\n".join(lines)
    return f"""
define internal void @sam_tvm_digits_words(
  {FLOATS} %x0, {FLOATS} %x1, {FLOATS} %x2, {FLOATS} %x3, {FLOATS} %q, ptr %to, i64 %part
) alwaysinline {{
{body}
  ret void
}}
"""


_MAGNITUDE = f"""
define internal {INTEGERS} @sam_tvm_digits_larger({INTEGERS} %m, {FLOATS} %x) alwaysinline {{
  %b = bitcast {FLOATS} %x to {INTEGERS}
  %a = and {INTEGERS} %b, {_bytes(0x7FFFFFFF)}
  %r = call {INTEGERS} @llvm.umax.v16i32({INTEGERS} %m, {INTEGERS} %a)
  ret {INTEGERS} %r
}}
"""

# Lanes of the vector that begins at term %at, of %count.
_SOME = f"""
define internal {FLOATS} @sam_tvm_digits_some(ptr %from, i64 %at, i64 %count) alwaysinline {{
  %left = sub i64 %count, %at
  %most = call i64 @llvm.smin.i64(i64 %left, i64 {TILE})
  %n = call i64 @llvm.smax.i64(i64 %most, i64 0)
  %power = shl i64 1, %n
  %ones = sub i64 %power, 1
  %bits = trunc i64 %ones to i16
  %mask = bitcast i16 %bits to {MASK}
  %p = getelementptr float, ptr %from, i64 %at
  %x = call {FLOATS} @llvm.masked.load.v16f32.p0(ptr %p, i32 4, {MASK} %mask,
    {FLOATS} zeroinitializer)
  ret {FLOATS} %x
}}
"""


def words_text() -> str:
    """Return the LLVM IR of the functions that `digit_cutting.py` calls."""
    return "\n".join([_DECLARATIONS, _MAGNITUDE, _SOME, _words()])
