"""bfloat16 operands: rounding, pairs of them in a uint32, and the product that adds up pairs.

TVM 0.27 has no LLVM type for bfloat16, so that two numbers travel as one uint32, the earlier one
in the low half, and the product is a call that the contraction rule turns into an instruction.
"""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, StringImm

DOT = "sam_tvm.dot_bfloat16"  # (float32 even, float32 odd, uint32 pair) -> float32

# What AVX512-BF16 does in one instruction. Such texts join the module of each function that imports
# them; TVM makes their functions inline, so that the same name in several functions is no conflict.
_INSTRUCTIONS = """
declare <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(<16 x float>, <32 x bfloat>, <32 x bfloat>)
define <16 x float> @sam_tvm_dot_pairs(<16 x float> %sum, <16 x i32> %y, <16 x i32> %x) {
  %a = bitcast <16 x i32> %y to <32 x bfloat>
  %b = bitcast <16 x i32> %x to <32 x bfloat>
  %r = tail call <16 x float> @llvm.x86.avx512bf16.dpbf16ps.512(
    <16 x float> %sum, <32 x bfloat> %a, <32 x bfloat> %b)
  ret <16 x float> %r
}
define <8 x i32> @sam_tvm_round_pairs(<16 x float> %x) {
  %t = fptrunc <16 x float> %x to <16 x bfloat>
  %r = bitcast <16 x bfloat> %t to <8 x i32>
  ret <8 x i32> %r
}
define <16 x i32> @sam_tvm_pair_lanes(<16 x float> %even, <16 x float> %odd) {
  %e = fptrunc <16 x float> %even to <16 x bfloat>
  %o = fptrunc <16 x float> %odd to <16 x bfloat>
  %v = shufflevector <16 x bfloat> %e, <16 x bfloat> %o, <32 x i32> <
    i32 0, i32 16, i32 1, i32 17, i32 2, i32 18, i32 3, i32 19,
    i32 4, i32 20, i32 5, i32 21, i32 6, i32 22, i32 7, i32 23,
    i32 8, i32 24, i32 9, i32 25, i32 10, i32 26, i32 11, i32 27,
    i32 12, i32 28, i32 13, i32 29, i32 14, i32 30, i32 15, i32 31>
  %r = bitcast <32 x bfloat> %v to <16 x i32>
  ret <16 x i32> %r
}
define i32 @sam_tvm_round_pair(float %even, float %odd) {
  %e = fptrunc float %even to bfloat
  %o = fptrunc float %odd to bfloat
  %v = insertelement <2 x bfloat> poison, bfloat %e, i32 0
  %w = insertelement <2 x bfloat> %v, bfloat %o, i32 1
  %r = bitcast <2 x bfloat> %w to i32
  ret i32 %r
}
"""


def _word(value: int) -> Expr:
    return tirx.const(value, "uint32")


def round_to_bfloat16(value: Expr) -> Expr:
    """Return the 16 bits of the nearest bfloat16 (ties to even) as uint32; NaN stays NaN."""
    bits = tirx.reinterpret("uint32", value)
    nearest = (bits + _word(0x7FFF) + ((bits >> _word(16)) & _word(1))) >> _word(16)
    quiet = (bits >> _word(16)) | _word(0x40)
    is_nan = (bits & _word(0x7FFFFFFF)) > _word(0x7F800000)
    return tirx.Select(is_nan, quiet, nearest)


def pack_pair(even: Expr, odd: Expr) -> Expr:
    """Return two float32 rounded to bfloat16, `even` in the low half of a uint32."""
    return round_to_bfloat16(even) | (round_to_bfloat16(odd) << _word(16))


def dot_pair(even: Expr, odd: Expr, pair: Expr) -> Expr:
    """Return the call that stands for `even * low(pair) + odd * high(pair)`.

    Args:
        even: float32, rounded to bfloat16 before it is multiplied.
        odd: the other one.
        pair: uint32, two bfloat16.

    """
    return tirx.call_pure_extern("float32", DOT, even, odd, pair)


def dot_operands(term: Expr) -> tuple[Expr, Expr, Expr] | None:
    """Return what a call made by `dot_pair` was given, None for anything else."""
    if not isinstance(term, Call) or getattr(term.op, "name", "") != "tirx.call_pure_extern":
        return None
    name, *operands = term.args
    if not isinstance(name, StringImm) or name.value != DOT:
        return None
    return tuple(operands)


def expand_dots(body: tirx.Stmt) -> tirx.Stmt:
    """Write the products that are left in ordinary arithmetic."""

    def expand(call: Call) -> Expr:
        operands = dot_operands(call)
        if operands is None:
            return call
        even, odd, pair = operands
        low, high = pair << _word(16), pair & _word(0xFFFF0000)
        return _rounded(even) * tirx.reinterpret("float32", low) + _rounded(odd) * tirx.reinterpret(
            "float32", high
        )

    return tvm_ffi.structural_map(body, (Call, expand))


def _rounded(value: Expr) -> Expr:
    return tirx.reinterpret("float32", round_to_bfloat16(value) << _word(16))


def import_instructions(body: tirx.Stmt) -> tirx.Stmt:
    """Make what the functions below call known to the function around `body`.

    Their instructions round to nearest, ties to even; NaN stays NaN, subnormal numbers become 0.
    """
    node = tirx.IntImm("int32", 0)
    return tirx.AttrStmt(node, "pragma_import_llvm", StringImm(_INSTRUCTIONS), body)


def add_dot_pairs(total: Expr, y: Expr, x: Expr) -> Expr:
    """Return `total` with the products of 16 pairs added: float32x16, twice uint32x16."""
    return tirx.call_extern("float32x16", "sam_tvm_dot_pairs", total, y, x)


def round_pairs(values: Expr) -> Expr:
    """Return uint32x8 for float32x16."""
    return tirx.call_extern("uint32x8", "sam_tvm_round_pairs", values)


def pair_lanes(even: Expr, odd: Expr) -> Expr:
    """Return uint32x16, `even` in the low halves, for two float32x16."""
    return tirx.call_extern("uint32x16", "sam_tvm_pair_lanes", even, odd)


def round_pair(even: Expr, odd: Expr) -> Expr:
    """Return uint32 for two float32."""
    return tirx.call_extern("uint32", "sam_tvm_round_pair", even, odd)
