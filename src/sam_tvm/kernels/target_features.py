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
    """

    lanes: int
    registers: int


AVX512 = VectorUnit(lanes=16, registers=32)
AVX2 = VectorUnit(lanes=8, registers=16)
NEON = VectorUnit(lanes=4, registers=32)
GENERIC = VectorUnit(lanes=4, registers=16)  # SSE2, and what is not known


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


def computes_bfloat16(target: tvm.target.Target) -> bool:
    """Tell whether there are kernels of bfloat16 for a CPU: with its instructions, or in software.

    Either works on 16 lanes.
    """
    return vector_unit(target) == AVX512


def has_bfloat16(target: tvm.target.Target) -> bool:
    """Tell whether the CPU multiplies pairs of bfloat16 in one instruction."""
    if target.kind.name != "llvm":
        return False
    with target:
        return bool(codegen.target_has_features("avx512bf16", target))


def panel_width(unit: VectorUnit) -> int:
    """Return the columns of a packed weight's panels: those of the register tile."""
    return unit.lanes * (4 if unit.registers == 32 else 2)
