"""AMX as functions in LLVM IR that TIR calls; tile registers keep their contents between calls.

Registers 0 to 3 are the sums (two rows of two tiles), 4 and 5 rows of Y, 6 and 7 columns of X. A
tile of Y has 16 rows of 32 terms, one of X 16 pairs of terms by 16 columns; both of bfloat16.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tvm import tirx
from tvm.ir import Expr, StringImm, Var

from sam_tvm.kernels.amx.parts import WHOLE, Product, parts_text, products_of
from sam_tvm.kernels.streaming import STREAM_TEXT
from sam_tvm.kernels.vectors import index

TILE = 16  # rows, columns, and words of a row of Y or pairs of a column of X
TILES = 2  # tiles along the rows of a block of sums, and along its columns
BLOCK = TILE * TILES
PANEL = BLOCK  # columns of a panel of X

_Y, _X = 4, 6
_WORD = 4  # bytes
_PANEL_ROW = PANEL * _WORD
_PANEL_STEP = TILE * _PANEL_ROW
_ADDED = 8  # vectors that are added beside each step: 64, a block, beside 8 steps


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
declare void @llvm.x86.tilezero(i8)
declare void @llvm.x86.tileloadd64(i8, ptr, i64)
declare void @llvm.x86.tilestored64(i8, ptr, i64)
declare void @llvm.x86.tdpbf16ps(i8, i8, i8)
"""


def _sums(rows: int, columns: int) -> list[tuple[int, int, int]]:
    """Return register, row and column of each tile of sums."""
    return [(r * TILES + c, r, c) for r in range(rows) for c in range(columns)]


def _zero(rows: int, columns: int) -> str:
    lines = [f"  call void @llvm.x86.tilezero(i8 {n})" for n, _, _ in _sums(rows, columns)]
    body = "\n".join(lines)
    return f"define i32 @sam_tvm_tiles_zero_{rows}{columns}() {{\n{body}\n  ret i32 0\n}}\n"


def _move(name: str, intrinsic: str, rows: int, columns: int) -> str:
    """Return the function that loads or stores the sums; `step` bytes lie between rows."""
    lines = []
    for n, r, c in _sums(rows, columns):
        start = "%p" if r == 0 else "%q"
        lines.append(f"  %a{n} = getelementptr i8, ptr {start}, i64 {c * TILE * _WORD}")
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


def _multiply(rows: int, columns: int, products: Sequence[Product], adding: bool = False) -> str:
    """Return the function that adds so many steps of 32 terms to the sums.

    If it is `adding`, the vector unit adds vectors in memory meanwhile, see `multiply_adding`.
    """
    lines: list[str] = []
    held: dict[str, int | None] = {"y": None, "x": None}
    for i, j in products:
        if held["y"] != i:
            lines += [f"  %yo{len(lines)} = mul i64 %y_part, {i}"]
            offset = f"%yo{len(lines) - 1}"
            for r in range(rows):
                start, name = ("%yp" if r == 0 else "%yq"), f"%ya{len(lines)}"
                lines.append(f"  {name} = getelementptr i8, ptr {start}, i64 {offset}")
                lines.append(
                    f"  call void @llvm.x86.tileloadd64(i8 {_Y + r}, ptr {name}, i64 %y_row)"
                )
            held["y"] = i
        if held["x"] != j:
            lines += [f"  %xo{len(lines)} = mul i64 %x_part, {j}"]
            offset = f"%xo{len(lines) - 1}"
            for c in range(columns):
                name = f"%xa{len(lines)}"
                start = "%xp" if c == 0 else "%xq"
                lines.append(f"  {name} = getelementptr i8, ptr {start}, i64 {offset}")
                lines.append(
                    f"  call void @llvm.x86.tileloadd64(i8 {_X + c}, ptr {name}, i64 {_PANEL_ROW})"
                )
            held["x"] = j
        for n, r, c in _sums(rows, columns):
            lines.append(f"  call void @llvm.x86.tdpbf16ps(i8 {n}, i8 {_Y + r}, i8 {_X + c})")
    if adding:
        lines.append(f"  %begin = mul i64 %i, {_ADDED * TILE * _WORD}")
        for v in range(_ADDED):
            lines.append(f"  %at{v} = add i64 %begin, {v * TILE * _WORD}")
            lines.append(f"  %tp{v} = getelementptr i8, ptr %to, i64 %at{v}")
            lines.append(f"  %fp{v} = getelementptr i8, ptr %from, i64 %at{v}")
            lines.append(f"  %t{v} = load <16 x float>, ptr %tp{v}, align 64")
            lines.append(f"  %f{v} = load <16 x float>, ptr %fp{v}, align 64")
            lines.append(f"  %s{v} = fadd <16 x float> %t{v}, %f{v}")
            lines.append(f"  store <16 x float> %s{v}, ptr %tp{v}, align 64")
    body = "\n".join(lines)
    more = ", ptr %to, ptr %from" if adding else ""
    return f"""
define i32 @{multiply_name(rows, columns, products, adding)}(
  ptr %y, i64 %y_row, i64 %y_part, ptr %x, i64 %x_part, i64 %steps{more}) {{
entry:
  %down = mul i64 %y_row, {TILE}
  %none = icmp sle i64 %steps, 0
  br i1 %none, label %done, label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %yt = mul i64 %i, {TILE * _WORD}
  %xt = mul i64 %i, {_PANEL_STEP}
  %yp = getelementptr i8, ptr %y, i64 %yt
  %yq = getelementptr i8, ptr %yp, i64 %down
  %xp = getelementptr i8, ptr %x, i64 %xt
  %xq = getelementptr i8, ptr %xp, i64 {TILE * _WORD}
{body}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %steps
  br i1 %more, label %loop, label %done
done:
  ret i32 0
}}
"""


def multiply_name(
    rows: int, columns: int, products: Sequence[Product], adding: bool = False
) -> str:
    """Return the name of the function that multiplies tiles of the parts of numbers."""
    parts = "_".join(f"{i}{j}" for i, j in products)
    name = "multiply_adding" if adding else "multiply"
    return f"sam_tvm_tiles_{name}_{rows}{columns}_{parts}"


@functools.cache
def tile_text() -> str:
    """Return the LLVM IR of all functions."""
    shapes = [(r, c) for r in (1, TILES) for c in (1, TILES)]
    products = {p for y, x in ((WHOLE, 1), (WHOLE, WHOLE)) for p in products_of(y, x)}
    parts = [_PERMIT, _configure(), _DECLARATIONS, STREAM_TEXT]
    for shape in shapes:
        parts += [_zero(*shape), _move("load", "tileloadd64", *shape)]
        parts += [_move("store", "tilestored64", *shape)]
        for listed in sorted(products):
            parts += [_multiply(*shape, listed), _multiply(*shape, listed, adding=True)]
    return "\n".join([*parts, parts_text()])


def import_tiles(body: tirx.Stmt, more: str = "") -> tirx.Stmt:
    """Make the functions, and those of more LLVM IR, known to the function around `body`."""
    text = StringImm(tile_text() + more)
    return tirx.AttrStmt(tirx.IntImm("int32", 0), "pragma_import_llvm", text, body)


# -- calls ------------------------------------------------------------------------------------


def _call(name: str, *arguments: Expr) -> tirx.Stmt:
    return tirx.Evaluate(tirx.call_extern("int32", name, *arguments))


def _address(buffer: Var, position: Expr) -> Expr:
    return tirx.address_of(tirx.BufferLoad(buffer, [position]))


def permit() -> tirx.Stmt:
    """Ask for the tile registers; once in a function, before its threads start."""
    return _call("sam_tvm_tiles_permit")


def configure() -> tirx.Stmt:
    """Set the registers' shapes, in each thread before their first use."""
    return _call("sam_tvm_tiles_configure")


def release() -> tirx.Stmt:
    """Give the registers back, so that the system need not save them."""
    return _call("sam_tvm_tiles_release")


def zero(rows: int, columns: int) -> tirx.Stmt:
    """Clear the sums of so many tiles."""
    return _call(f"sam_tvm_tiles_zero_{rows}{columns}")


def load(rows: int, columns: int, buffer: Var, position: Expr, step: Expr | int) -> tirx.Stmt:
    """Read the sums from a float32 buffer, `step` elements between rows."""
    at = _address(buffer, position)
    return _call(f"sam_tvm_tiles_load_{rows}{columns}", at, index(step) * _WORD)


def store(rows: int, columns: int, buffer: Var, position: Expr, step: Expr | int) -> tirx.Stmt:
    """Write the sums to a float32 buffer, `step` elements between rows."""
    at = _address(buffer, position)
    return _call(f"sam_tvm_tiles_store_{rows}{columns}", at, index(step) * _WORD)


def multiply(
    shape: tuple[int, int],
    products: Sequence[Product],
    y: tuple[Var, Expr, Expr, Expr],
    x: tuple[Var, Expr, Expr],
    steps: Expr,
) -> tirx.Stmt:
    """Add the products of `steps` times 32 terms to the sums.

    Args:
        shape: tiles along rows and columns.
        products: which parts meet.
        y: buffer of uint32, position of the first word, words between rows and between parts.
        x: buffer of uint32, position of the first pair, words between parts; rows of a panel.
        steps: how many.
    """
    return _call(multiply_name(*shape, products), *_operands(y, x, steps))


def multiply_adding(
    shape: tuple[int, int],
    products: Sequence[Product],
    y: tuple[Var, Expr, Expr, Expr],
    x: tuple[Var, Expr, Expr],
    steps: Expr,
    to: tuple[Var, Expr],
    source: tuple[Var, Expr],
) -> tirx.Stmt:
    """Multiply, and add vectors of float32 in memory to others while the tiles are busy.

    Args:
        shape: see `multiply`, as for all up to `steps`.
        products: which parts meet.
        y: rows of Y.
        x: rows of a panel.
        steps: how many.
        to: buffer and position of the sums, which begin a cache line.
        source: buffer and position of what is added to them, `added_by(steps)` elements.
    """
    names = multiply_name(*shape, products, adding=True)
    return _call(names, *_operands(y, x, steps), _address(*to), _address(*source))


def added_by(steps: Expr | int) -> Expr | int:
    """Return how many elements so many steps of `multiply_adding` add."""
    return steps * (_ADDED * TILE)


def _operands(
    y: tuple[Var, Expr, Expr, Expr], x: tuple[Var, Expr, Expr], steps: Expr
) -> tuple[Expr, ...]:
    y_buffer, y_at, y_row, y_part = y
    x_buffer, x_at, x_part = x
    return (
        _address(y_buffer, y_at),
        index(y_row) * _WORD,
        index(y_part) * _WORD,
        _address(x_buffer, x_at),
        index(x_part) * _WORD,
        index(steps),
    )
