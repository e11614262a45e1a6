"""bfloat16 operands: rounding, pairs of them in a uint32, and the product that adds up pairs.

TVM 0.27 has no LLVM type for bfloat16, so that two numbers travel as one uint32, the earlier one
in the low half, and the product is a call that the contraction rule turns into an instruction
(`bfloat16_instructions.py`).
"""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, Expr, StringImm

from sam_tvm.kernels.expressions import dtype_of

DOT = "sam_tvm.dot_bfloat16"  # (even, odd, uint32 pair) -> float32; see `dot_pair`
JOIN = "sam_tvm.join_bfloat16"  # (even, odd) -> uint32 pair; see `join_pair`
ROUND = "sam_tvm.round_bfloat16"  # float32 -> uint16


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
        even: float32, rounded to bfloat16 before it is multiplied, or uint16, which was before.
        odd: the other one.
        pair: uint32, two bfloat16.

    """
    return tirx.call_pure_extern("float32", DOT, even, odd, pair)


def join_pair(even: Expr, odd: Expr) -> Expr:
    """Return the call that stands for `pack_pair(even, odd)`, in a product of two activations."""
    return tirx.call_pure_extern("uint32", JOIN, even, odd)


def rounded(value: Expr) -> Expr:
    """Return the call that stands for the 16 bits of a float32 rounded to bfloat16, as uint16."""
    return tirx.call_pure_extern("uint16", ROUND, value)


def widened(bits: Expr) -> Expr:
    """Return uint16 that `rounded` made, a number or a vector, as float32."""
    lanes = bits.ty.dtype.lanes
    suffix = f"x{lanes}" if lanes > 1 else ""
    sixteen = _word(16) if lanes == 1 else tirx.Broadcast(_word(16), lanes)
    word = tirx.Cast(f"uint32{suffix}", bits) << sixteen
    return tirx.reinterpret(f"float32{suffix}", word)


def rounded_value(value: Expr) -> Expr | None:
    """Return what a call made by `rounded` was given, None for anything else."""
    operands = _extern_operands(value, ROUND)
    return None if operands is None else operands[0]


def dot_operands(term: Expr) -> tuple[Expr, ...] | None:
    """Return what a call made by `dot_pair` was given, None for anything else.

    In place of a pair that `join_pair` makes it is both of its numbers.
    """
    operands = _extern_operands(term, DOT)
    joined = operands and _extern_operands(operands[-1], JOIN)
    return (*operands[:-1], *joined) if joined else operands


def _extern_operands(term: Expr, function: str) -> tuple[Expr, ...] | None:
    if not isinstance(term, Call) or getattr(term.op, "name", "") != "tirx.call_pure_extern":
        return None
    name, *operands = term.args
    if not isinstance(name, StringImm) or name.value != function:
        return None
    return tuple(operands)


def expand_dots(body: tirx.Stmt) -> tirx.Stmt:
    """Write the products and roundings that are left in ordinary arithmetic."""

    def expand(call: Call) -> Expr:
        value = rounded_value(call)
        if value is not None:
            return tirx.Cast("uint16", round_to_bfloat16(value))
        joined = _extern_operands(call, JOIN)
        if joined is not None:
            return pack_pair(*joined)
        operands = _extern_operands(call, DOT)
        if operands is None:
            return call
        even, odd, pair = operands
        low, high = pair << _word(16), pair & _word(0xFFFF0000)
        return _rounded(even) * tirx.reinterpret("float32", low) + _rounded(odd) * tirx.reinterpret(
            "float32", high
        )

    return tvm_ffi.structural_map(body, (Call, expand))


def _rounded(value: Expr) -> Expr:
    if dtype_of(value) == "uint16":
        return widened(value)
    return tirx.reinterpret("float32", round_to_bfloat16(value) << _word(16))


def words_of(halves: Expr) -> Expr:
    """Return uint32x16 for uint16x32: neighbours share a word."""
    return tirx.reinterpret("uint32x16", halves)


def pair_halves(even: Expr, odd: Expr) -> Expr:
    """Return uint32x16, `even` in the low halves, for two uint16x16."""
    order = [tirx.IntImm("int32", i // 2 + i % 2 * 16) for i in range(32)]
    return words_of(tirx.Shuffle([even, odd], order))


# Calls of the functions of `bfloat16_instructions.py`; who uses them imports those.


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
