"""What a library asks of the CPU, and whether this one has it.

A library that uses instructions which the CPU lacks is loaded without complaint and ends the
process in the middle of a run (SIGILL), so that its requirements are compared before it is loaded.
Instruction sets have LLVM's names.
"""

from __future__ import annotations

import functools
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sam_tvm.runtime import linux_cpu

_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}


def architecture(triple: str | None = None) -> str:
    """The architecture of an LLVM triple, or this machine's, by one name however it is spelled."""
    name = (platform.machine() if triple is None else triple.split("-")[0]).lower()
    return _ALIASES.get(name, name)


@dataclass(frozen=True)
class Requirements:
    """What a library asks of a CPU: its architecture and sets of instructions beyond the basic."""

    architecture: str
    instructions: tuple[str, ...]

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Requirements:
        """Read what a build or a bundle's manifest records.

        Raises:
            KeyError, TypeError: the entry is of another form.

        """
        return cls(str(entry["architecture"]), tuple(str(name) for name in entry["instructions"]))

    def unmet(self) -> str | None:
        """Say in a line why this CPU cannot run the library and what to do; None where it can."""
        here = "build it on this machine with --target llvm"
        if self.architecture != architecture():
            return f"is built for {self.architecture}, this CPU is {architecture()}: {here}"
        present = host_instructions()
        missing = sorted(set(self.instructions) - present) if present is not None else []
        if not missing:
            return None
        return (
            f"is built for a CPU with {', '.join(missing)}, which this one lacks: {here}, or "
            f'elsewhere with --target "llvm -mcpu={host_cpu() or "NAME"}"'
        )


@functools.cache
def host_instructions() -> frozenset[str] | None:
    """The sets of instructions that this CPU has and the system lets programs use.

    Returns:
        Their names; None if nothing here can tell.

    """
    machine = architecture()
    found = _ask_processor() if machine == "x86_64" else None
    if found is None and sys.platform == "linux":
        found = linux_cpu.instructions(machine)
    return found if found is not None else _ask_llvm()


def host_cpu() -> str | None:
    """LLVM's name of this CPU, as ``-mcpu`` takes it; None if nothing here can tell."""
    name = _llvm("GetHostCPUName")
    return None if name is None else str(name())


def _llvm(name: str) -> Any:
    """One of LLVM's questions about the host; None where TVM comes without LLVM."""
    import tvm  # only where a library is about to be loaded: a manifest is read without TVM

    return tvm.get_global_func(f"tvm.codegen.llvm.{name}", allow_missing=True)


def _ask_processor() -> frozenset[str] | None:
    """What CPUID says, less what the system does not save (XCR0); x86 alone has all in there."""
    ask = _llvm("GetHostCPUFeatures")
    return None if ask is None else frozenset(str(name) for name, has in ask().items() if has)


def _ask_llvm() -> frozenset[str] | None:
    """What LLVM knows of the CPU by its name: the one source on Apple's."""
    name = host_cpu()
    if name is None:
        return None
    import tvm

    host = tvm.target.Target({"kind": "llvm", "mcpu": name})
    features = tvm.get_global_func("target.llvm_get_cpu_features", allow_missing=True)
    return None if features is None else frozenset(str(feature) for feature in features(host))
