"""The sets of instructions that Linux says this CPU has, by LLVM's names."""

from __future__ import annotations

import ctypes
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

# Linux's names of x86's sets where they are not LLVM's (arch/x86/include/asm/cpufeatures.h).
_X86_NAMES = {
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "abm": "lzcnt",
    "bmi1": "bmi",
    "avx_vnni": "avxvnni",
    "amx_tile": "amx-tile",
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
}

# Bits of the kernel's vectors AT_HWCAP and AT_HWCAP2 (arch/arm64/include/uapi/asm/hwcap.h); those
# of sets that compiled loops contain.
_ARM_BITS = {
    16: {
        0: "fp-armv8",
        1: "neon",
        8: "lse",
        10: "fullfp16",
        12: "rdm",
        13: "jsconv",
        14: "complxnum",
        15: "rcpc",
        17: "sha3",
        20: "dotprod",
        22: "sve",
        23: "fp16fml",
        25: "lse2",
        26: "rcpc-immo",
        27: "flagm",
    },
    26: {
        1: "sve2",
        4: "sve-bitperm",
        7: "altnzcv",
        8: "fptoint",
        10: "f32mm",
        11: "f64mm",
        13: "i8mm",
        14: "bf16",
        34: "cssc",
        36: "sve2p1",
        43: "mops",
        45: "sve-b16b16",
        46: "rcpc3",
        47: "lse128",
        49: "lut",
        50: "faminmax",
        51: "fp8",
        52: "fp8fma",
        53: "fp8dot4",
        54: "fp8dot2",
    },
}


def instructions(architecture: str) -> frozenset[str] | None:
    """The sets of instructions that programs may use; None if this system does not say."""
    if architecture == "x86_64":
        return _x86()
    return _arm() if architecture == "aarch64" else None


def _x86() -> frozenset[str] | None:
    """From the file for people: the kernel has no other for x86, where programs ask the CPU."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = (line.partition(":") for line in lines)
    cores = [set(flags.split()) for key, _, flags in fields if key.strip() == "flags"]
    if not cores:
        return None
    # What one core lacks no library may use: it may run on any.
    common = set.intersection(*cores)
    return frozenset(_X86_NAMES.get(flag, flag.replace("avx512_", "avx512")) for flag in common)


def _arm() -> frozenset[str] | None:
    """From the vector that a process is started with: programs may not ask the CPU."""
    words = {number: _auxiliary(number) for number in _ARM_BITS}
    if not any(words.values()):
        return None
    return frozenset(
        name
        for number, names in _ARM_BITS.items()
        for bit, name in names.items()
        if words[number] >> bit & 1
    )


def _auxiliary(number: int) -> int:
    try:
        ask = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError, TypeError):  # no Linux, or a C library without it
        return 0
    ask.restype, ask.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(ask(number))
