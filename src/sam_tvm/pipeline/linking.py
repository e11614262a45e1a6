"""A compiled module as a file: a shared library, or its objects where no linker for it is here."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import tvm
from tvm.support import cc, tar

from sam_tvm.pipeline.files import sha256_of_file
from sam_tvm.pipeline.instructions import target_architecture
from sam_tvm.pipeline.targets import code_target
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.instructions import architecture

# Objects and the library that is linked from them: ten times those of the tiny SAM3.
ROOM_BYTES = 64 << 20
# What triples say of who made the machine, which compilers' names leave out.
_VENDORS = ("unknown", "pc", "none", "conda")


class LinkError(UserError):
    """The compiler that links a library is missing or failed."""


def write_library(
    executable: tvm.runtime.Executable, target: tvm.target.Target, folder: Path
) -> Path:
    """Write a compiled module into `folder`, under a name that holds the file's hash.

    dlopen answers with the library it has for a path that it has loaded before, so a rebuilt
    library must have another name.

    Returns:
        Path of ``lib-<hash>.so``; for another architecture whose compiler is not installed, of
        ``lib-<hash>.tar`` with the objects to link there.

    Raises:
        OSError: the disk is full.
        LinkError: there is no compiler for this machine, or it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(folder)
    compiler = find_compiler(target)
    path = folder / ("lib.so" if compiler else "lib.tar")
    with tempfile.TemporaryDirectory(dir=folder) as objects:
        executable.export_library(
            str(path), fcompile=_link_with(compiler) if compiler else tar.tar, workspace_dir=objects
        )
    return path.rename(path.with_name(f"lib-{sha256_of_file(path)[:12]}{path.suffix}"))


def find_compiler(target: tvm.target.Target) -> str | None:
    """The C++ compiler that links for `target`; None for another architecture without one.

    Raises:
        LinkError: there is none for this machine.
    """
    target = code_target(target)
    triple = str(target.attrs.get("mtriple") or "")
    if target_architecture(target) == architecture() and ("linux" in triple or not triple):
        if compiler := cc.get_cc():
            return compiler
        raise LinkError("no C++ compiler is installed, which links libraries: install g++")
    name = "-".join(part for part in triple.split("-") if part not in _VENDORS)
    candidates = (f"{name}-{compiler}" for compiler in ("g++", "gcc", "clang++", "clang"))
    return next(filter(shutil.which, candidates), None)


def _check_room(folder: Path) -> None:
    """Raise OSError if the disk, a quota or a limit leaves no room: LLVM would abort the process.

    Reserving the room tells all three.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            os.posix_fallocate(probe.fileno(), 0, ROOM_BYTES)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno), str(folder)) from None


def _link_with(compiler: str) -> Callable[..., None]:
    """A function for `export_library`, which links objects with `compiler`."""

    def link(output: str, objects: Sequence[str]) -> None:
        command = [*shlex.split(compiler), "-shared", "-fPIC", "-o", output, *objects]
        if sys.platform == "darwin":
            command += ["-undefined", "dynamic_lookup"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise LinkError(f"{compiler} cannot be run: {error.strerror}") from None
        if done.returncode:
            reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise LinkError(f"{compiler} could not link {output}: {reason[-1]}")

    return link
