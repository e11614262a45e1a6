"""What a CPU target's vector unit looks like: lanes and registers."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm.target import codegen


@dataclass(frozen=True)
class VectorUnit:
    """A vector unit.

    Attributes:
        lanes: float32 elements in one vector register.
        registers: how many vector registers there are.
        tiles: whether there are matrix tiles beside it, of bfloat16 and int8 (`kernels.amx`).
        has_powers: whether it has instructions for powers of 2: `vreduceps` and `vscalefps`.
    """

    lanes: int
    registers: int
    tiles: bool = False
    has_powers: bool = False


AVX512 = VectorUnit(lanes=16, registers=32, has_powers=True)
AMX = VectorUnit(lanes=16, registers=32, tiles=True, has_powers=True)
AVX2 = VectorUnit(lanes=8, registers=16)
NEON = VectorUnit(lanes=4, registers=32)
GENERIC = VectorUnit(lanes=4, registers=16)  # SSE2, and what is not known


def vector_unit(target: tvm.target.Target) -> VectorUnit:
    """Return the vector unit of an LLVM target; the smallest one if it is not known."""
    if target.kind.name != "llvm":
        return GENERIC
    with target:
        if codegen.target_has_features("avx512dq", target):
            return AMX if _has_tiles(target) else AVX512
        if codegen.target_has_features("avx2", target):
            return AVX2
    triple = str(target.attrs.get("mtriple", ""))
    if triple.startswith(("aarch64", "arm64")):
        return NEON
    return GENERIC


def _has_tiles(target: tvm.target.Target) -> bool:
    """Tell whether there are tiles, vectors of bfloat16, and a system that lets us use them."""
    triple = str(target.attrs.get("mtriple") or codegen.llvm_get_system_triple())
    features = ("amx-tile", "amx-bf16", "amx-int8", "avx512bf16")
    return "linux" in triple and all(codegen.target_has_features(f, target) for f in features)


def computes_bfloat16(target: tvm.target.Target) -> bool:
    """Tell whether there are kernels of bfloat16 for a CPU: with its instructions, or in software.

    Either works on 16 lanes.
    """
    return vector_unit(target) in (AVX512, AMX)


def has_bfloat16(target: tvm.target.Target) -> bool:
    """Tell whether the CPU multiplies pairs of bfloat16 in one instruction."""
    if target.kind.name != "llvm":
        return False
    with target:
        return bool(codegen.target_has_features("avx512bf16", target))


def panel_width(unit: VectorUnit) -> int:
    """Return the columns of a packed weight's panels: those of the register or matrix tiles."""
    if unit.tiles:
        return 2 * unit.lanes
    return unit.lanes * (4 if unit.registers == 32 else 2)
