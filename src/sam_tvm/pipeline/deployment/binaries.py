"""Which machine the code in a library or an object is for, asked of binutils and LLVM."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from sam_tvm.pipeline.deployment.tools import CheckError, find, output

# What readelf calls the architectures.
_ELF = {"x86_64": "X86-64", "aarch64": "AArch64"}


def check_shared_library(library: Path, architecture: str) -> str:
    """Hold the header of an ELF library, and the symbols it must have, against its target.

    Raises:
        MissingToolError, CheckError
    """
    readelf = find("readelf", "apt install binutils")
    header = output([readelf, "--file-header", library])
    fields = dict(line.strip().split(":", 1) for line in header.splitlines() if ":" in line)
    machine, kind = fields["Machine"].strip(), fields["Type"].strip()
    if _ELF[architecture] not in machine or not kind.startswith("DYN"):
        raise CheckError(
            f"{library.name} is {kind} for {machine}, not a library for {architecture}"
        )
    symbols = output([readelf, "--dyn-syms", "--wide", library])
    if "__tvm_ffi__library_bin" not in symbols:
        raise CheckError(f"{library.name} holds no virtual machine's code")
    return f"readelf: {machine}, shared library"


def check_archive(archive: Path, triple: str) -> str:
    """Hold the format of each object of an archive against its target's.

    Args:
        archive: `lib-<hash>.tar`.
        triple: what the objects are for.

    Raises:
        MissingToolError, CheckError
    """
    form = _form(triple)
    objdump = find("llvm-objdump", "apt install llvm")
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as objects:
        objects.extractall(folder, filter="data")
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        if not files:
            raise CheckError(f"{archive.name} is empty")
        for path in files:
            said = output([objdump, "--section-headers", path])
            if f"file format {form}" not in said.lower():
                raise CheckError(f"{path.name} in {archive.name} is no object for {triple}")
    return f"llvm-objdump: {form} objects"


def _form(triple: str) -> str:
    """What llvm-objdump calls the objects of a triple."""
    if "macos" in triple or "darwin" in triple:
        return "mach-o arm64"
    if triple.startswith("wasm32"):
        return "wasm"
    return f"elf64-little{triple.split('-')[0]}"
