"""What AVX512-BF16 does in one instruction, as functions in LLVM IR, and the same in software.

The texts join the module of each function that imports them. TVM makes their functions inline, so
that the same name in several functions is no conflict.

Both round to nearest, ties to even, and keep NaN. The instructions take subnormal numbers for 0;
the software adds each pair's products by two fused multiply-adds, and is slower than float32. It
shows on any CPU with AVX-512 what bfloat16 does to the results.
"""

from __future__ import annotations

import tvm
from tvm import tirx

from sam_tvm.kernels.graph.rewriting import editing_pass
from sam_tvm.kernels.llvm_ir import IMPORT, import_text

HARDWARE = """
declare <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(<16 x float>, <16 x float>)
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
  %t = tail call <32 x bfloat> @llvm.x86.avx512bf16.cvtne2ps2bf16.512(
    <16 x float> %odd, <16 x float> %even)
  %v = shufflevector <32 x bfloat> %t, <32 x bfloat> poison, <32 x i32> <
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

_SOFTWARE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @sam_tvm_dot_pairs(<16 x float> %sum, <16 x i32> %y, <16 x i32> %x) {
  %yl = shl <16 x i32> %y, splat (i32 16)
  %xl = shl <16 x i32> %x, splat (i32 16)
  %yh = and <16 x i32> %y, splat (i32 -65536)
  %xh = and <16 x i32> %x, splat (i32 -65536)
  %a = bitcast <16 x i32> %yl to <16 x float>
  %b = bitcast <16 x i32> %xl to <16 x float>
  %c = bitcast <16 x i32> %yh to <16 x float>
  %d = bitcast <16 x i32> %xh to <16 x float>
  %s = tail call <16 x float> @llvm.fma.v16f32(<16 x float> %c, <16 x float> %d, <16 x float> %sum)
  %r = tail call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %s)
  ret <16 x float> %r
}
define <16 x i32> @sam_tvm_round_lanes(<16 x float> %x) alwaysinline {
  %bits = bitcast <16 x float> %x to <16 x i32>
  %top = lshr <16 x i32> %bits, splat (i32 16)
  %odd = and <16 x i32> %top, splat (i32 1)
  %half = add <16 x i32> %odd, splat (i32 32767)
  %sum = add <16 x i32> %bits, %half
  %near = lshr <16 x i32> %sum, splat (i32 16)
  %quiet = or <16 x i32> %top, splat (i32 64)
  %nan = fcmp uno <16 x float> %x, zeroinitializer
  %r = select <16 x i1> %nan, <16 x i32> %quiet, <16 x i32> %near
  ret <16 x i32> %r
}
define <8 x i32> @sam_tvm_round_pairs(<16 x float> %x) {
  %w = tail call <16 x i32> @sam_tvm_round_lanes(<16 x float> %x)
  %t = trunc <16 x i32> %w to <16 x i16>
  %r = bitcast <16 x i16> %t to <8 x i32>
  ret <8 x i32> %r
}
define <16 x i32> @sam_tvm_pair_lanes(<16 x float> %even, <16 x float> %odd) {
  %e = tail call <16 x i32> @sam_tvm_round_lanes(<16 x float> %even)
  %o = tail call <16 x i32> @sam_tvm_round_lanes(<16 x float> %odd)
  %h = shl <16 x i32> %o, splat (i32 16)
  %r = or <16 x i32> %e, %h
  ret <16 x i32> %r
}
define i32 @sam_tvm_round_pair(float %even, float %odd) {
  %v = insertelement <16 x float> zeroinitializer, float %even, i32 0
  %w = insertelement <16 x float> %v, float %odd, i32 1
  %l = tail call <16 x i32> @sam_tvm_round_lanes(<16 x float> %w)
  %e = extractelement <16 x i32> %l, i32 0
  %o = extractelement <16 x i32> %l, i32 1
  %h = shl i32 %o, 16
  %r = or i32 %e, %h
  ret i32 %r
}
"""


def import_instructions(body: tirx.Stmt) -> tirx.Stmt:
    """Make the functions known to the function around `body`."""
    return import_text(HARDWARE, body)


def in_software() -> tvm.ir.transform.Pass:
    """Return a pass that computes the instructions in software, for a CPU with AVX-512 alone."""
    return editing_pass("SamTvmBfloat16InSoftware", tirx.AttrStmt, _software)


def _software(statement: tirx.AttrStmt) -> tirx.Stmt:
    if statement.attr_key != IMPORT or statement.value.value != HARDWARE:
        return statement
    return import_text(_SOFTWARE, statement.body)
