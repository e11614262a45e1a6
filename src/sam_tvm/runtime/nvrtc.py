"""CUDA source to machine code with NVRTC, which needs neither a GPU nor a CUDA toolkit.

A CUDA library that was built where no NVIDIA driver is holds the kernels' source, and TVM asks for
this when it loads the library. TVM's own compiler options include fast math, whose exponentials and
divisions are too coarse for the errors that a build may have here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam_tvm.runtime.errors import UserError

PACKAGES = "cuda-bindings nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-cccl"
# NVRTC knows none of the fixed-size integers and no INFINITY without the headers of a host.
_PREAMBLE = "#include <cuda/std/cstdint>\n#include <cuda/std/limits>\n" + "".join(
    f"using cuda::std::{sign}int{bits}_t;\n" for bits in (8, 16, 32, 64) for sign in ("", "u")
)
_INFINITY = "#ifndef INFINITY\n#define INFINITY (::cuda::std::numeric_limits<float>::infinity())\n"
_HEADERS = ("cuda_runtime.h", "cuda/std/cstdint")


class CudaCompilerError(UserError):
    """NVRTC or its headers are not installed."""


class CudaSourceError(Exception):
    """NVRTC refuses the source."""


def compile_cuda(source: str, arch: str) -> bytes:
    """Compile CUDA source to a cubin.

    Args:
        source: as TVM generates it.
        arch: of the machine code, such as ``sm_80``.

    Raises:
        CudaCompilerError: NVRTC or its headers are not installed.
        CudaSourceError: it does not compile; the message is NVRTC's log.

    """
    nvrtc = _nvrtc()
    options = [
        f"--gpu-architecture={arch}",
        "-default-device",
        "--device-int128",
        "-U__CUDA_NO_HALF_OPERATORS__",
        "-U__CUDA_NO_HALF_CONVERSIONS__",
        *(f"-I{folder}" for folder in _include_folders()),
    ]
    text = "\n".join(line for line in source.splitlines() if line.strip() != "#include <cuda.h>")
    whole = f"{_PREAMBLE}{_INFINITY}#endif\n{text}".encode()
    program = _checked(nvrtc.nvrtcCreateProgram(whole, b"kernels.cu", 0, None, None))
    try:
        (status,) = nvrtc.nvrtcCompileProgram(
            program, len(options), [option.encode() for option in options]
        )
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_checked(nvrtc.nvrtcGetProgramLogSize(program)))
            nvrtc.nvrtcGetProgramLog(program, log)
            raise CudaSourceError(log.decode(errors="replace").strip(" \n\0"))
        binary = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
        nvrtc.nvrtcGetCUBIN(program, binary)
        return bytes(binary)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def use_for_cuda() -> None:
    """Let TVM compile CUDA with `compile_cuda` in this process, for its target or its device."""
    import tvm
    import tvm_ffi

    def compile_for_target(source: str) -> bytes:
        target = tvm.target.Target.current(allow_none=True)
        arch = target.attrs.get("arch") if target is not None else None
        if arch is None:
            arch = "sm_" + str(tvm.device("cuda", 0).compute_version).replace(".", "")
        return compile_cuda(source, str(arch))

    tvm_ffi.register_global_func("tvm_callback_cuda_compile", compile_for_target, override=True)


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        raise CudaCompilerError(f"no NVRTC is installed: pip install {PACKAGES}") from error
    return nvrtc


def _checked(answer: tuple[Any, Any]) -> Any:
    status, value = answer
    if int(status):
        raise CudaSourceError(f"NVRTC: {status}")
    return value


def _include_folders() -> list[Path]:
    """Where CUDA's headers and those of its C++ library lie: of the packages, or of a toolkit."""
    from cuda import pathfinder

    folders = []
    for package, header in zip(("cudart", "cccl"), _HEADERS, strict=True):
        found = pathfinder.find_nvidia_header_directory(package)
        if found is None or not (Path(found) / header).is_file():
            raise CudaCompilerError(f"CUDA's {header} is not installed: pip install {PACKAGES}")
        folders.append(Path(found))
    return folders
