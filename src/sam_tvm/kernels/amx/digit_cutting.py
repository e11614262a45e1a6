"""Cutting rows of Y and panels of X into digits, as functions in LLVM IR that TIR calls."""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.amx.digit_words import FLOATS, INTEGERS, MASK, QUARTERS, words_text
from sam_tvm.kernels.amx.digits import LARGEST, TERMS
from sam_tvm.kernels.amx.instructions import (
    PANEL,
    TILE,
    WORD,
    address,
    call,
    constant,
    in_all_lanes,
)
from sam_tvm.kernels.vectors import index


def _row() -> str:
    """Return the function that cuts a row of Y in a pass: terms lie side by side."""
    whole = "\n".join(
        f"  %wp{v} = getelementptr float, ptr %from, i64 %w{v}\n"
        f"  %wx{v} = load {FLOATS}, ptr %wp{v}, align 4"
        for v in range(QUARTERS)
    )
    some = "\n".join(
        f"  %sx{v} = call {FLOATS} @sam_tvm_digits_some(ptr %from, i64 %w{v}, i64 %count)"
        for v in range(QUARTERS)
    )
    starts = "\n".join(f"  %w{v} = add i64 %term, {v * TILE}" for v in range(QUARTERS))
    joined = "\n".join(
        f"  %x{v} = phi {FLOATS} [%wx{v}, %whole], [%sx{v}, %some]" for v in range(QUARTERS)
    )
    vectors = ", ".join(f"{FLOATS} %x{v}" for v in range(QUARTERS))
    return f"""
define i32 @sam_tvm_digits_row(
  ptr %from, i64 %count, i64 %steps, ptr %to, i64 %part, ptr %scale, i64 %ahead
) alwaysinline {{
entry:
  br label %compare
compare:
  %c = phi i64 [0, %entry], [%c_next, %compare]
  %m = phi {INTEGERS} [zeroinitializer, %entry], [%larger, %compare]
  %cx = call {FLOATS} @sam_tvm_digits_some(ptr %from, i64 %c, i64 %count)
  %larger = call {INTEGERS} @sam_tvm_digits_larger({INTEGERS} %m, {FLOATS} %cx)
  %fp = getelementptr float, ptr %from, i64 %c
  %fa = getelementptr i8, ptr %fp, i64 %ahead
  call void @llvm.prefetch.p0(ptr %fa, i32 0, i32 3, i32 1)
  %c_next = add i64 %c, {TILE}
  %c_more = icmp slt i64 %c_next, %count
  br i1 %c_more, label %compare, label %scale_it
scale_it:
  %bits = call i32 @llvm.vector.reduce.umax.v16i32({INTEGERS} %larger)
  %largest = bitcast i32 %bits to float
  %s = fmul float %largest, {constant(65536 / LARGEST)}
  store float %s, ptr %scale, align 4
  %inverse = fdiv float {constant(LARGEST)}, %largest
  %q_one = insertelement {FLOATS} poison, float %inverse, i32 0
  %q = shufflevector {FLOATS} %q_one, {FLOATS} poison, <16 x i32> zeroinitializer
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
  call void @sam_tvm_digits_words({vectors}, {FLOATS} %q, ptr %t, i64 %part)
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
        phis.append(f"  %m{h} = phi {INTEGERS} [zeroinitializer, %entry], [%n{h}, %compare]")
        compare += [
            f"  %c{h} = getelementptr i8, ptr %cp, i64 {offset}",
            f"  %cx{h} = load {FLOATS}, ptr %c{h}, align 4",
            f"  %n{h} = call {INTEGERS} @sam_tvm_digits_larger({INTEGERS} %m{h}, {FLOATS} %cx{h})",
        ]
        scale += [
            f"  %l{h} = bitcast {INTEGERS} %n{h} to {FLOATS}",
            f"  %s{h} = fmul {FLOATS} %l{h}, {in_all_lanes(65536 / LARGEST)}",
            f"  %sp{h} = getelementptr i8, ptr %scales, i64 {offset}",
            f"  store {FLOATS} %s{h}, ptr %sp{h}, align 4",
            f"  %q{h} = fdiv {FLOATS} {in_all_lanes(LARGEST)}, %l{h}",
        ]
        for v in range(QUARTERS):
            cut += [
                f"  %p{h}_{v} = getelementptr i8, ptr %fp{v}, i64 {offset}",
                f"  %x{h}_{v} = call {FLOATS} @llvm.masked.load.v16f32.p0(ptr %p{h}_{v}, i32 4,"
                f" {MASK} %mask{v}, {FLOATS} zeroinitializer)",
            ]
        vectors = ", ".join(f"{FLOATS} %x{h}_{v}" for v in range(QUARTERS))
        cut += [
            f"  %tp{h} = getelementptr i8, ptr %t, i64 {offset}",
            f"  call void @sam_tvm_digits_words({vectors}, {FLOATS} %q{h}, ptr %tp{h}, i64 %part)",
        ]
    rows = []
    for v in range(QUARTERS):
        rows += [
            f"  %term{v} = add i64 %term, {v * TILE}",
            f"  %there{v} = icmp slt i64 %term{v}, %count",
            f"  %there_bits{v} = sext i1 %there{v} to i16",
            f"  %mask{v} = bitcast i16 %there_bits{v} to {MASK}",
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
    return "\n".join([words_text(), _row(), _panel()])


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
        index(part) * WORD,
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
        index(source[2] * WORD),
        count,
        steps,
        address(buffer, at),
        index(part) * WORD,
        address(*scales),
    )
