"""Which sets of instructions a library may hold, from its target."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import tvm
from tvm.target import codegen

from sam_tvm.runtime.instructions import architecture, host_instructions

# What LLVM's code generator chooses by itself for loops over numbers, beyond what every CPU of the
# architecture has. A CPU's name stands for much else (cryptography, the system's instructions,
# hints for scheduling), which no compiled loop contains and which virtual machines like to hide.
# AVX10.1 is a name for sets that are listed beside it, which not every system reports.
_EMITTED = {
    "x86_64": re.compile(
        r"ssse3|sse[34].*|avx(?!10).*|fma4?|f16c|xop|bmi2?|tbm|lzcnt|popcnt|movbe|gfni"
        r"|amx-(tile|bf16|int8)"
        r"|egpr|ndd|nf|ccmp|cf|zu|ppx|push2pop2"  # APX
    ),
    "aarch64": re.compile(
        r"neon|fullfp16|fp16fml|dotprod|i8mm|bf16|f32mm|f64mm|rdm|complxnum|jsconv|fptoint"
        r"|sve2?|sve2p\d|sve-bitperm|sve-b16b16|sha3|faminmax|lut|fp8.*"
        r"|lse2?|lse128|rcpc|rcpc-immo|rcpc3|flagm|altnzcv|mops|cssc"
    ),
}


def emitted(target: tvm.target.Target) -> frozenset[str]:
    """LLVM's names of the sets of instructions that code for `target` may use.

    Empty for architectures whose sets nobody here has looked at.
    """
    features = (str(name) for name in codegen.llvm_get_cpu_features(target))
    return _emitted_of(target_architecture(target), features)


def _emitted_of(name: str, features: Iterable[str]) -> frozenset[str]:
    pattern = _EMITTED.get(name)
    return frozenset(filter(pattern.fullmatch, features)) if pattern else frozenset()


def corrections(target: tvm.target.Target) -> list[str]:
    """How this CPU differs from what its name, the CPU of `target`, stands for.

    A virtual machine may hide sets of instructions, and an unknown CPU has more than the family
    that LLVM takes it for.

    Returns:
        LLVM attributes such as ``-avx512f``; empty on most machines.
    """
    present = host_instructions()
    if present is None:
        return []
    named, present = emitted(target), _emitted_of(architecture(), present)
    return [f"-{name}" for name in sorted(named - present)] + [
        f"+{name}" for name in sorted(present - named)
    ]


def target_architecture(target: tvm.target.Target) -> str:
    """The architecture that a target is for; this machine's where it has no triple."""
    return architecture(str(target.attrs.get("mtriple") or codegen.llvm_get_system_triple()))


def requirements(target: tvm.target.Target) -> dict[str, Any]:
    """What a build records for `sam_tvm.runtime.instructions.Requirements` to compare."""
    return {
        "architecture": target_architecture(target),
        "instructions": sorted(emitted(target)),
    }
