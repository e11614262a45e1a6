"""The targets that the port is compiled for."""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.runtime.errors import UnknownNameError


@dataclass(frozen=True)
class Row:
    """A target of the table.

    Attributes:
        name: what `--targets` takes and the report says.
        target: the name that `--target` takes.
        precisions: that it is compiled in.
        file: what comes out.
        runs: where it runs.
    """

    name: str
    target: str
    precisions: tuple[str, ...]
    file: str
    runs: str

    @property
    def kind(self) -> str:
        """The kind of TVM's target."""
        return self.target.split()[0]

    @property
    def pipeline(self) -> str:
        """Whose loops it has."""
        return "our kernels" if self.kind == "llvm" else "TVM's GPU schedules"


_FULL, _BOTH = ("float32",), ("float32", "float16")
_X86 = "llvm -mtriple=x86_64-linux-gnu"
_SHARED = "ELF shared library"
_OBJECTS = "archive of objects"

ROWS = (
    Row("cpu", "llvm", _FULL, _SHARED, "this CPU"),
    Row("x86-64-v3", f"{_X86} -mcpu=x86-64-v3", _FULL, _SHARED, "x86-64 Linux with AVX2"),
    Row("x86-64-v4", f"{_X86} -mcpu=x86-64-v4", _FULL, _SHARED, "x86-64 Linux with AVX-512"),
    Row("aarch64", "llvm -mtriple=aarch64-linux-gnu", _FULL, _SHARED, "Arm Linux"),
    Row(
        "arm64-macos",
        "llvm -mtriple=arm64-apple-macos -mcpu=apple-m1",
        _FULL,
        f"{_OBJECTS} (Mach-O)",
        "Apple silicon",
    ),
    Row("cuda", "cuda", _BOTH, f"{_SHARED} with a cubin", "the NVIDIA GPU of this machine"),
    Row("cuda-sm_80", "cuda -arch=sm_80", _BOTH, f"{_SHARED} with CUDA kernels", "A100"),
    Row("cuda-sm_90", "cuda -arch=sm_90", _BOTH, f"{_SHARED} with CUDA kernels", "H100, H200"),
    Row("metal", "metal", _FULL, f"{_OBJECTS} (Mach-O) with Metal kernels", "Apple's GPUs"),
    Row("opencl", "opencl", _FULL, f"{_SHARED} with OpenCL C kernels", "OpenCL 1.2 devices"),
    Row("webgpu", "webgpu", _FULL, f"{_OBJECTS} (WebAssembly) with WGSL kernels", "browsers"),
    Row("vulkan", "vulkan", _FULL, "", "Vulkan devices"),
    Row("rocm", "rocm", _FULL, "", "AMD's GPUs"),
)


def select(names: list[str] | None) -> tuple[Row, ...]:
    """The rows of these names, in the table's order; all by default.

    Raises:
        UnknownNameError: naming the known ones.
    """
    known = {row.name: row for row in ROWS}
    for name in names or []:
        if name not in known:
            raise UnknownNameError(
                f"there is no target {name!r}; known targets: {', '.join(known)}"
            )
    return ROWS if names is None else tuple(row for row in ROWS if row.name in names)
