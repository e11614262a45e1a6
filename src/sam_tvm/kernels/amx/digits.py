"""float32 as three digits of 8 bits with a scale for a group of numbers: fixed point, for int8.

A group is a row of Y, or a column of X, in a pass of the sum. Its largest magnitude m becomes
LARGEST, and each number the nearest integer of 24 bits, v = 2**16 d0 + 2**8 d1 + d2 with digits
from -128 to 127; products of digits are summed in int32 without an error. Of the nine the six that
count are computed, one sum for each power of 2**8 (a level). The idea is Ozaki's (Ozaki, Ogita,
Oishi, Rump: "Error-free transformations of matrix multiplication", 2012; on int8: Ootomo, Ozaki,
Yokota, "DGEMM on integer matrix multiplication unit", 2023).

An error is one of the group's largest number, about 2**-24 of it, where a float32 product errs by
that of each sum on its way: alike unless a group has a number far above the others that meets next
to nothing in the other operand.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.instructions import (
    PANEL,
    TILE,
    WORD,
    address,
    call,
    constant,
    in_all_lanes,
)
from sam_tvm.kernels.amx.parts import Product

DIGITS = 3
TERMS = 4 * TILE  # of a tile: words of four
LARGEST = 127 << 16  # of v: digits of 127, 0 and 0
LEVELS: tuple[tuple[Product, ...], ...] = tuple(
    tuple((i, level - i) for i in range(DIGITS) if 0 <= level - i < DIGITS)
    for level in range(DIGITS)
)
_QUARTERS = 4  # vectors whose terms share words

_FLOATS, _INTEGERS, _MASK = "<16 x float>", "<16 x i32>", "<16 x i1>"

_DECLARATIONS = f"""
declare {_INTEGERS} @llvm.umax.v16i32({_INTEGERS}, {_INTEGERS})
declare i32 @llvm.vector.reduce.umax.v16i32({_INTEGERS})
declare {_INTEGERS} @llvm.x86.avx512.mask.cvtps2dq.512({_FLOATS}, {_INTEGERS}, i16, i32)
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
    for v in range(_QUARTERS):
        lines += [
            f"  %p{v} = fmul {_FLOATS} %x{v}, %q",
            f"  %r{v} = call {_INTEGERS} @llvm.x86.avx512.mask.cvtps2dq.512({_FLOATS} %p{v},"
            f" {_INTEGERS} zeroinitializer, i16 -1, i32 4)",
            f"  %v{v} = add {_INTEGERS} %r{v}, {_bytes(0x00808080)}",
        ]

    def joined(name: str, a: str, b: str, low: int, shifted: tuple[str, int]) -> None:
        """Take the bits `low` of a, and the others of b; one of them is shifted first."""
        which, bits = shifted
        operands = {"a": a, "b": b}
        shift = "shl" if bits > 0 else "lshr"
        lines.append(f"  {name}_s = {shift} {_INTEGERS} {operands[which]}, splat (i32 {abs(bits)})")
        operands[which] = f"{name}_s"
        lines.append(f"  {name}_a = and {_INTEGERS} {operands['a']}, {_bytes(low)}")
        lines.append(f"  {name}_b = and {_INTEGERS} {operands['b']}, {_bytes(low ^ 0xFFFFFFFF)}")
        lines.append(f"  {name} = or {_INTEGERS} {name}_a, {name}_b")

    halves = 0x0000FFFF
    for n, (a, b) in enumerate((("%v0", "%v1"), ("%v2", "%v3"))):
        joined(f"%low{n}", a, b, halves, ("b", 16))
        joined(f"%high{n}", a, b, halves, ("a", -16))
    odd = 0x00FF00FF
    joined("%u0", "%high0", "%high1", odd, ("b", 8))
    joined("%u1", "%low0", "%low1", odd, ("a", -8))
    joined("%u2", "%low0", "%low1", odd, ("b", 8))
    for d in range(DIGITS):
        lines.append(f"  %d{d} = xor {_INTEGERS} %u{d}, {_bytes(0x80808080)}")
        lines.append(f"  %tp{d} = getelementptr i8, ptr %to, i64 %part{d}")
        lines.append(f"  store {_INTEGERS} %d{d}, ptr %tp{d}, align 64")
    body = "\n".join(lines)
    return f"""
define internal void @sam_tvm_digits_words(
  {_FLOATS} %x0, {_FLOATS} %x1, {_FLOATS} %x2, {_FLOATS} %x3, {_FLOATS} %q, ptr %to, i64 %part
) alwaysinline {{
  %part0 = add i64 0, 0
  %part1 = add i64 %part, 0
  %part2 = mul i64 %part, 2
{body}
  ret void
}}
"""


_MAGNITUDE = f"""
define internal {_INTEGERS} @sam_tvm_digits_larger({_INTEGERS} %m, {_FLOATS} %x) alwaysinline {{
  %b = bitcast {_FLOATS} %x to {_INTEGERS}
  %a = and {_INTEGERS} %b, {_bytes(0x7FFFFFFF)}
  %r = call {_INTEGERS} @llvm.umax.v16i32({_INTEGERS} %m, {_INTEGERS} %a)
  ret {_INTEGERS} %r
}}
"""

# Lanes of the vector that begins at term %at, of %count.
_SOME = f"""
define internal {_FLOATS} @sam_tvm_digits_some(ptr %from, i64 %at, i64 %count) alwaysinline {{
  %left = sub i64 %count, %at
  %most = call i64 @llvm.smin.i64(i64 %left, i64 {TILE})
  %n = call i64 @llvm.smax.i64(i64 %most, i64 0)
  %power = shl i64 1, %n
  %ones = sub i64 %power, 1
  %bits = trunc i64 %ones to i16
  %mask = bitcast i16 %bits to {_MASK}
  %p = getelementptr float, ptr %from, i64 %at
  %x = call {_FLOATS} @llvm.masked.load.v16f32.p0(ptr %p, i32 4, {_MASK} %mask,
    {_FLOATS} zeroinitializer)
  ret {_FLOATS} %x
}}
"""


def _row() -> str:
    """Return the function that cuts a row of Y in a pass: terms lie side by side."""
    whole = "\n".join(
        f"  %wp{v} = getelementptr float, ptr %from, i64 %w{v}\n"
        f"  %wx{v} = load {_FLOATS}, ptr %wp{v}, align 4"
        for v in range(_QUARTERS)
    )
    some = "\n".join(
        f"  %sx{v} = call {_FLOATS} @sam_tvm_digits_some(ptr %from, i64 %w{v}, i64 %count)"
        for v in range(_QUARTERS)
    )
    starts = "\n".join(f"  %w{v} = add i64 %term, {v * TILE}" for v in range(_QUARTERS))
    joined = "\n".join(
        f"  %x{v} = phi {_FLOATS} [%wx{v}, %whole], [%sx{v}, %some]" for v in range(_QUARTERS)
    )
    vectors = ", ".join(f"{_FLOATS} %x{v}" for v in range(_QUARTERS))
    return f"""
define i32 @sam_tvm_digits_row(
  ptr %from, i64 %count, i64 %steps, ptr %to, i64 %part, ptr %scale, i64 %ahead
) alwaysinline {{
entry:
  %last = sub i64 %count, {TILE}
  br label %compare
compare:
  %c = phi i64 [0, %entry], [%c_next, %compare]
  %m = phi {_INTEGERS} [zeroinitializer, %entry], [%larger, %compare]
  %cx = call {_FLOATS} @sam_tvm_digits_some(ptr %from, i64 %c, i64 %count)
  %larger = call {_INTEGERS} @sam_tvm_digits_larger({_INTEGERS} %m, {_FLOATS} %cx)
  %fp = getelementptr float, ptr %from, i64 %c
  %fa = getelementptr i8, ptr %fp, i64 %ahead
  call void @llvm.prefetch.p0(ptr %fa, i32 0, i32 3, i32 1)
  %c_next = add i64 %c, {TILE}
  %c_more = icmp slt i64 %c_next, %count
  br i1 %c_more, label %compare, label %scale_it
scale_it:
  %bits = call i32 @llvm.vector.reduce.umax.v16i32({_INTEGERS} %larger)
  %largest = bitcast i32 %bits to float
  %s = fmul float %largest, {constant(65536 / LARGEST)}
  store float %s, ptr %scale, align 4
  %inverse = fdiv float {constant(LARGEST)}, %largest
  %q_one = insertelement {_FLOATS} poison, float %inverse, i32 0
  %q = shufflevector {_FLOATS} %q_one, {_FLOATS} poison, <16 x i32> zeroinitializer
  br label %loop
loop:
  %i = phi i64 [0, %scale_it], [%next, %cut]
  %term = mul i64 %i, {TERMS}
  %end = add i64 %term, {TERMS}
{starts}
  %all = icmp sle i64 %end, %count
  br i1 %all, label %whole, label %some
whole:
{whole}
  br label %cut
some:
{some}
  br label %cut
cut:
{joined}
  %t_at = mul i64 %i, {TILE * WORD}
  %t = getelementptr i8, ptr %to, i64 %t_at
  call void @sam_tvm_digits_words({vectors}, {_FLOATS} %q, ptr %t, i64 %part)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %steps
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
"""


def _panel() -> str:
    """Return the function that cuts a panel of X in a pass: columns lie side by side."""
    halves = range(PANEL // TILE)
    compare, phis, scale, cut = [], [], [], []
    for h in halves:
        offset = h * TILE * WORD
        phis.append(f"  %m{h} = phi {_INTEGERS} [zeroinitializer, %entry], [%n{h}, %compare]")
        compare += [
            f"  %c{h} = getelementptr i8, ptr %cp, i64 {offset}",
            f"  %cx{h} = load {_FLOATS}, ptr %c{h}, align 4",
            f"  %n{h} = call {_INTEGERS} @sam_tvm_digits_larger({_INTEGERS} %m{h},"
            f" {_FLOATS} %cx{h})",
        ]
        scale += [
            f"  %l{h} = bitcast {_INTEGERS} %n{h} to {_FLOATS}",
            f"  %s{h} = fmul {_FLOATS} %l{h}, {in_all_lanes(65536 / LARGEST)}",
            f"  %sp{h} = getelementptr i8, ptr %scales, i64 {offset}",
            f"  store {_FLOATS} %s{h}, ptr %sp{h}, align 4",
            f"  %q{h} = fdiv {_FLOATS} {in_all_lanes(LARGEST)}, %l{h}",
        ]
        for v in range(_QUARTERS):
            cut += [
                f"  %p{h}_{v} = getelementptr i8, ptr %fp{v}, i64 {offset}",
                f"  %x{h}_{v} = call {_FLOATS} @llvm.masked.load.v16f32.p0(ptr %p{h}_{v}, i32 4,"
                f" {_MASK} %mask{v}, {_FLOATS} zeroinitializer)",
            ]
        vectors = ", ".join(f"{_FLOATS} %x{h}_{v}" for v in range(_QUARTERS))
        cut += [
            f"  %tp{h} = getelementptr i8, ptr %t, i64 {offset}",
            f"  call void @sam_tvm_digits_words({vectors}, {_FLOATS} %q{h}, ptr %tp{h}, i64 %part)",
        ]
    rows = []
    for v in range(_QUARTERS):
        rows += [
            f"  %term{v} = add i64 %term, {v * TILE}",
            f"  %there{v} = icmp slt i64 %term{v}, %count",
            f"  %there_bits{v} = sext i1 %there{v} to i16",
            f"  %mask{v} = bitcast i16 %there_bits{v} to {_MASK}",
            f"  %fo{v} = mul i64 %term{v}, %row",
            f"  %fp{v} = getelementptr i8, ptr %from, i64 %fo{v}",
        ]
    newline = "\n"
    return f"""
define i32 @sam_tvm_digits_panel(
  ptr %from, i64 %row, i64 %count, i64 %steps, ptr %to, i64 %part, ptr %scales
) alwaysinline {{
entry:
  %words = mul i64 %steps, {TILE}
  br label %compare
compare:
  %k = phi i64 [0, %entry], [%k_next, %compare]
{newline.join(phis)}
  %co = mul i64 %k, %row
  %cp = getelementptr i8, ptr %from, i64 %co
{newline.join(compare)}
  %k_next = add i64 %k, 1
  %k_more = icmp slt i64 %k_next, %count
  br i1 %k_more, label %compare, label %scale_it
scale_it:
{newline.join(scale)}
  br label %loop
loop:
  %i = phi i64 [0, %scale_it], [%next, %loop]
  %step = lshr i64 %i, 4
  %word = and i64 %i, {TILE - 1}
  %first = mul i64 %step, {TERMS}
  %term = add i64 %first, %word
{newline.join(rows)}
  %to_at = mul i64 %i, {PANEL * WORD}
  %t = getelementptr i8, ptr %to, i64 %to_at
{newline.join(cut)}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %words
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
"""


def digits_text() -> str:
    """Return the LLVM IR of the functions that cut."""
    return "\n".join([_DECLARATIONS, _MAGNITUDE, _SOME, _words(), _row(), _panel()])


# -- calls ------------------------------------------------------------------------------------


def cut_row(
    source: tuple[Var, Expr],
    terms: tuple[Expr, Expr],
    to: tuple[Var, Expr, Expr | int],
    scale: tuple[Var, Expr],
    ahead: Expr,
) -> tirx.Stmt:
    """Cut a row of Y in a pass.

    Args:
        source: float32 buffer and position of the first term.
        terms: how many there are, and how many steps of 64 are to be filled (with zeros).
        to: uint32 buffer and position of the first word, words from digit to digit.
        scale: buffer and position of the row's scale: what a first digit of 1 stands for.
        ahead: elements to what is fetched meanwhile.
    """
    count, steps = terms
    buffer, at, part = to
    return call(
        "sam_tvm_digits_row",
        address(*source),
        count,
        steps,
        address(buffer, at),
        tirx.const(WORD, "int64") * part,
        address(*scale),
        ahead * WORD,
    )


def cut_panel(
    source: tuple[Var, Expr, int],
    terms: tuple[Expr, Expr],
    to: tuple[Var, Expr, Expr | int],
    scales: tuple[Var, Expr],
) -> tirx.Stmt:
    """Cut a panel of X in a pass.

    Args:
        source: float32 buffer and position of the first term, elements from term to term.
        terms: see `cut_row`.
        to: see `cut_row`.
        scales: buffer and position of the columns' scales.
    """
    count, steps = terms
    buffer, at, part = to
    return call(
        "sam_tvm_digits_panel",
        address(*source[:2]),
        tirx.const(source[2] * WORD, "int64"),
        count,
        steps,
        address(buffer, at),
        tirx.const(WORD, "int64") * part,
        address(*scales),
    )
