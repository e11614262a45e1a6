"""e**x of vectors by AVX-512's own rounding and scaling, which every CPU with AMX has."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.ir import Expr

_LOWEST = -104.0  # e**x rounds to 0 below
_NEAREST, _CURRENT = 8, 4  # rounding to whole numbers, and of results


def _vector(value: float) -> str:
    """Return a float32 in all lanes, as LLVM reads it: the bits of the same float64."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    (bits,) = struct.unpack("<Q", struct.pack("<d", rounded))
    return f"splat (float 0x{bits:016X})"


def exponential_text(polynomials: Mapping[int, Sequence[float]]) -> str:
    """Return the functions `sam_tvm_exp_DEGREE` of polynomials for e**r, |r| <= ln(2)/2."""
    v, mask = "<16 x float>", "zeroinitializer, i16 -1"
    text = f"""
declare {v} @llvm.fma.v16f32({v}, {v}, {v})
declare {v} @llvm.x86.avx512.max.ps.512({v}, {v}, i32)
declare {v} @llvm.x86.avx512.mask.rndscale.ps.512({v}, i32, {v}, i16, i32)
declare {v} @llvm.x86.avx512.mask.scalef.ps.512({v}, {v}, {v}, i16, i32)
"""
    for degree, coefficients in polynomials.items():
        lines = []
        power = _vector(coefficients[-1])
        for number, coefficient in enumerate(reversed(coefficients[:-1])):
            lines.append(
                f"  %p{number} = call {v} @llvm.fma.v16f32({v} {power}, {v} %r,"
                f" {v} {_vector(coefficient)})"
            )
            power = f"%p{number}"
        body = "\n".join(lines)
        # Of two numbers of which one is NaN the maximum is the second.
        text += f"""
define {v} @sam_tvm_exp_{degree}({v} %x) {{
  %c = call {v} @llvm.x86.avx512.max.ps.512({v} {_vector(_LOWEST)}, {v} %x, i32 {_CURRENT})
  %s = fmul {v} %c, {_vector(math.log2(math.e))}
  %n = call {v} @llvm.x86.avx512.mask.rndscale.ps.512(
    {v} %s, i32 {_NEAREST}, {v} {mask}, i32 {_CURRENT})
  %r = call {v} @llvm.fma.v16f32({v} %n, {v} {_vector(-math.log(2))}, {v} %c)
{body}
  %e = call {v} @llvm.x86.avx512.mask.scalef.ps.512(
    {v} {power}, {v} %n, {v} {mask}, i32 {_CURRENT})
  ret {v} %e
}}
"""
    return text


def exponential(x: Expr, degree: int) -> Expr:
    """Return e**x of float32x16 for x <= 0, by a polynomial that the text was made for."""
    return tirx.call_extern("float32x16", f"sam_tvm_exp_{degree}", x)
