"""AMX as functions in LLVM IR that TIR calls; tile registers keep their contents between calls.

Registers 0 to 3 are the sums: two rows of two tiles, each 16 x 16 of float32 or int32. What uses
the other four is in `multiplication.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.vectors import index

TILE = 16  # rows, columns, and words of a row of Y or pairs of a column of X
TILES = 2  # tiles along the rows of a block of sums, and along its columns
BLOCK = TILE * TILES
PANEL = BLOCK  # columns of a panel of X
SHAPES = [(r, c) for r in (1, TILES) for c in (1, TILES)]  # of the sums in use

WORD = 4  # bytes


# Linux gives a process the tile registers when it asks (arch_prctl, ARCH_REQ_XCOMP_PERM): each
# function asks, because a thread of whatever process loads the library may be the first.
_PERMIT = """
define i32 @sam_tvm_tiles_permit() {
  %r = call i64 asm sideeffect "syscall",
    "={rax},{rax},{rdi},{rsi},~{rcx},~{r11},~{memory},~{dirflag},~{fpsr},~{flags}"(
    i64 158, i64 4131, i64 18)
  ret i32 0
}
"""


def constant(value: float) -> str:
    """Return a float32 as LLVM reads it: the bits of the same float64."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    (bits,) = struct.unpack("<Q", struct.pack("<d", rounded))
    return f"0x{bits:016X}"


def in_all_lanes(value: float) -> str:
    """Return a vector of a float32 in all lanes."""
    return f"splat (float {constant(value)})"


def repeated(lines: Sequence[str], count: str) -> str:
    """Return the end of a function in LLVM IR: `lines` for each %i below a count, and its return.

    It goes on from the block `entry`.
    """
    return f"""  %none = icmp sle i64 {count}, 0
  br i1 %none, label %done, label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
{chr(10).join(lines)}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, {count}
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
"""


def spread(words: int) -> int:
    """Return a row length of whole tiles, an odd number of cache lines, so that rows spread."""
    return (words // TILE // 2 * 2 + 1) * TILE


def _configure() -> str:
    """Return the function that gives every register 16 rows of 64 bytes."""
    rows = [0x1010101010101010, 0]
    columns = [0x0040004000400040] * 2
    words = [1, 0, *columns, 0, 0, *rows]
    stores = "\n".join(
        f"  %w{i} = getelementptr i64, ptr %p, i64 {i}\n  store i64 {word}, ptr %w{i}, align 8"
        for i, word in enumerate(words)
    )
    return f"""
declare void @llvm.x86.ldtilecfg(ptr)
declare void @llvm.x86.tilerelease()
define i32 @sam_tvm_tiles_configure() {{
  %p = alloca [8 x i64], align 64
{stores}
  call void @llvm.x86.ldtilecfg(ptr %p)
  ret i32 0
}}
define i32 @sam_tvm_tiles_release() {{
  call void @llvm.x86.tilerelease()
  ret i32 0
}}
"""


_DECLARATIONS = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare <16 x float> @llvm.masked.load.v16f32.p0(ptr, i32, <16 x i1>, <16 x float>)
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tilestored64(i8, ptr, i64)
"""


def sums_of(rows: int, columns: int) -> list[tuple[int, int, int]]:
    """Return register, row and column of each tile of sums."""
    return [(r * TILES + c, r, c) for r in range(rows) for c in range(columns)]


def _zero(rows: int, columns: int) -> str:
    lines = [f"  call void @llvm.x86.tilezero(i8 {n})" for n, _, _ in sums_of(rows, columns)]
    body = "\n".join(lines)
    return f"define i32 @sam_tvm_tiles_zero_{rows}{columns}() {{\n{body}\n  ret i32 0\n}}\n"


def _move(name: str, intrinsic: str, rows: int, columns: int) -> str:
    """Return the function that loads or stores the sums; `step` bytes lie between rows."""
    lines = []
    for n, r, c in sums_of(rows, columns):
        start = "%p" if r == 0 else "%q"
        lines.append(f"  %a{n} = getelementptr i8, ptr {start}, i64 {c * TILE * WORD}")
        lines.append(f"  call void @llvm.x86.{intrinsic}(i8 {n}, ptr %a{n}, i64 %step)")
    body = "\n".join(lines)
    return f"""
define i32 @sam_tvm_tiles_{name}_{rows}{columns}(ptr %p, i64 %step) {{
  %down = mul i64 %step, {TILE}
  %q = getelementptr i8, ptr %p, i64 %down
{body}
  ret i32 0
}}
"""


def instructions_text() -> str:
    """Return the LLVM IR of the functions called below."""
    parts = [_PERMIT, _configure(), _DECLARATIONS]
    for shape in SHAPES:
        parts += [_zero(*shape), _move("load", "tileloadd64", *shape)]
        parts += [_move("store", "tilestored64", *shape)]
    return "\n".join(parts)


# -- calls ------------------------------------------------------------------------------------


def call(name: str, *arguments: Expr) -> tirx.Stmt:
    """Call a function in LLVM IR."""
    return tirx.Evaluate(tirx.call_extern("int32", name, *arguments))


def address(buffer: Var, position: Expr) -> Expr:
    """Return the address of an element of a flat buffer."""
    return tirx.address_of(tirx.BufferLoad(buffer, [position]))


def permit() -> tirx.Stmt:
    """Ask for the tile registers; once in a function, before its threads start."""
    return call("sam_tvm_tiles_permit")


def configure() -> tirx.Stmt:
    """Set the registers' shapes, in each thread before their first use."""
    return call("sam_tvm_tiles_configure")


def release() -> tirx.Stmt:
    """Give the registers back, so that the system need not save them."""
    return call("sam_tvm_tiles_release")


def zero(rows: int, columns: int) -> tirx.Stmt:
    """Clear the sums of so many tiles."""
    return call(f"sam_tvm_tiles_zero_{rows}{columns}")


def load(rows: int, columns: int, buffer: Var, position: Expr, step: Expr | int) -> tirx.Stmt:
    """Read the sums from a float32 buffer, `step` elements between rows."""
    at = address(buffer, position)
    return call(f"sam_tvm_tiles_load_{rows}{columns}", at, index(step) * WORD)


def store(rows: int, columns: int, buffer: Var, position: Expr, step: Expr | int) -> tirx.Stmt:
    """Write the sums to a buffer of their type, `step` elements between rows."""
    at = address(buffer, position)
    return call(f"sam_tvm_tiles_store_{rows}{columns}", at, index(step) * WORD)
