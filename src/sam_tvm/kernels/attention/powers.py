"""2**x of vectors by AVX-512's own instructions, for the weights of an online softmax.

`vreduceps` leaves x less the largest whole number below it, `vscalefps` multiplies by two to the
power of that number: both take x as it is, infinite or far below what a float32 holds.
"""

from __future__ import annotations

import functools

from tvm import tirx
from tvm.ir import Expr

from sam_tvm.kernels.amx.instructions import in_all_lanes
from sam_tvm.kernels.llvm_ir import import_text

# 2**r for 0 <= r < 1 by degree, exact at 0: minimax fits of the relative error, 9.3e-8 and 8.6e-5.
_COEFFICIENTS = {
    5: (
        1.0,
        0.6931512951850891,
        0.24016444385051727,
        0.05579991638660431,
        0.009017026983201504,
        0.0018671315629035234,
    ),
    3: (1.0, 0.6951168179512024, 0.2276448756456375, 0.07706712931394577),
}
_DOWN, _CURRENT = 1, 4  # rounding to whole numbers, and of results


def import_powers(body: tirx.Stmt) -> tirx.Stmt:
    """Make the functions that `power_of_two` calls known around `body`."""
    return import_text(_power_text(), body)


@functools.cache
def _power_text() -> str:
    v, mask = "<16 x float>", "zeroinitializer, i16 -1"
    text = f"""
declare {v} @llvm.fma.v16f32({v}, {v}, {v})
declare {v} @llvm.x86.avx512.mask.reduce.ps.512({v}, i32, {v}, i16, i32)
declare {v} @llvm.x86.avx512.mask.scalef.ps.512({v}, {v}, {v}, i16, i32)
"""
    for degree, (*rest, highest) in _COEFFICIENTS.items():
        lines = []
        power = in_all_lanes(highest)
        for number, coefficient in enumerate(reversed(rest)):
            lines.append(
                f"  %p{number} = call {v} @llvm.fma.v16f32({v} {power}, {v} %r,"
                f" {v} {in_all_lanes(coefficient)})"
            )
            power = f"%p{number}"
        body = "\n".join(lines)
        text += f"""
define {v} @sam_tvm_power_{degree}({v} %x) {{
  %r = call {v} @llvm.x86.avx512.mask.reduce.ps.512(
    {v} %x, i32 {_DOWN}, {v} {mask}, i32 {_CURRENT})
{body}
  %e = call {v} @llvm.x86.avx512.mask.scalef.ps.512(
    {v} {power}, {v} %x, {v} {mask}, i32 {_CURRENT})
  ret {v} %e
}}
"""
    return text


def power_of_two(x: Expr, degree: int) -> Expr:
    """Return 2**x of float32x16, by a polynomial of degree 5, or 3 for what is rounded after."""
    return tirx.call_extern("float32x16", f"sam_tvm_power_{degree}", x)
