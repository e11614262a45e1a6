"""What a CPU target's vector unit looks like: lanes, registers, a GEMM tile that fits them."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm.target import codegen


@dataclass(frozen=True)
class VectorUnit:
    """Widths in float32 elements and the register tile of a contraction.

    Attributes:
        lanes: float32 elements in one vector register.
        tile_rows: rows of a register tile (broadcast operand).
        tile_vectors: vectors per row of a register tile.

    """

    lanes: int
    tile_rows: int
    tile_vectors: int


AVX512 = VectorUnit(lanes=16, tile_rows=12, tile_vectors=2)  # 24 of 32 registers accumulate
AVX2 = VectorUnit(lanes=8, tile_rows=6, tile_vectors=2)  # 12 of 16
NEON = VectorUnit(lanes=4, tile_rows=8, tile_vectors=2)  # 16 of 32
GENERIC = VectorUnit(lanes=4, tile_rows=4, tile_vectors=2)  # SSE2: 8 of 16


def vector_unit(target: tvm.target.Target) -> VectorUnit:
    """Return the vector unit of an LLVM target; the smallest one if it is not known."""
    if target.kind.name != "llvm":
        return GENERIC
    with target:
        if codegen.target_has_features("avx512f", target):
            return AVX512
        if codegen.target_has_features("avx2", target):
            return AVX2
    triple = str(target.attrs.get("mtriple", ""))
    if triple.startswith(("aarch64", "arm64")):
        return NEON
    return GENERIC
