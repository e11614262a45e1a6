"""The kernels of a GPU's library as source, beside the library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tvm

# How the file is called for each kind of target.
NAMES = {
    "cuda": "kernels.cu",
    "metal": "kernels.metal",
    "opencl": "kernels.cl",
    "webgpu": "kernels.wgsl",
}


def write_sources(
    executable: tvm.runtime.Executable, target: tvm.target.Target, folder: Path
) -> None:
    """Write what a library's device code was compiled from, or will be where it is loaded.

    Nothing is written for a CPU.
    """
    kind = str(target.kind.name)
    if kind not in NAMES:
        return
    # Asked for by the kind's name, WebGPU's module answers with an empty text.
    texts = [module.inspect_source() for module in _modules(executable.mod) if module.kind == kind]
    (folder / NAMES[kind]).write_text("\n".join(texts), encoding="utf-8")


def _modules(module: tvm.runtime.Module) -> Iterator[tvm.runtime.Module]:
    yield module
    for imported in module.imports:
        yield from _modules(imported)
