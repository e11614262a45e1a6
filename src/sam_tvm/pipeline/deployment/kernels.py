"""Kernels of GPUs: their source compiled or parsed by a compiler of its language."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from sam_tvm.pipeline.deployment.tools import CheckError, MissingToolError, find, output
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.nvrtc import CudaCompilerError, CudaSourceError, compile_cuda

PRELUDE = Path(__file__).with_name("metal_prelude.h")
_WGPU = "pip install wgpu, apt install mesa-vulkan-drivers"
_CUOBJDUMP = "pip install nvidia-cuda-cuobjdump"
# What stands before each kernel: those of Metal and WGSL are files of their own, with types that
# others declare too; those of OpenCL are declared once more, all together, in the beginning.
_PARTS = {
    "opencl": re.compile(r"(?m)^__kernel void(?=[^;{]*{)"),
    "metal": re.compile(r"#include <metal_stdlib>"),
    "webgpu": re.compile(r"(?m)^// Function: .*\n"),
}


def check_cuda(source: Path, arch: str) -> str:
    """Compile CUDA source for `arch` and ask cuobjdump what for the machine code is.

    Raises:
        MissingToolError, CheckError
    """
    try:
        cubin = compile_cuda(source.read_text(encoding="utf-8"), arch)
    except CudaCompilerError as error:
        raise MissingToolError(f"needs NVRTC ({str(error).split(': ', 1)[-1]})") from error
    except CudaSourceError as error:
        said = [line for line in str(error).splitlines() if "error" in line]
        raise CheckError(f"NVRTC: {(said or [str(error)])[0]}") from error
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = output([_cuda_tool("cuobjdump"), "--dump-elf", file.name])
    found = re.search(r"\bsm=(\w+)", listing)
    kernels = len(set(re.findall(r"\.text\.(\w+)", listing)))
    if found is None or f"sm_{found[1]}" != arch or not kernels:
        raise CheckError(f"cuobjdump: {kernels} kernels for {found and found[1]}, not {arch}")
    return f"NVRTC and cuobjdump: cubin for {arch}, {kernels} kernels"


def _cuda_tool(name: str) -> str:
    try:
        from nvidia import cu13
    except ImportError:
        return find(name, _CUOBJDUMP)
    path = Path(next(iter(cu13.__path__))) / "bin" / name
    return str(path) if path.is_file() else find(name, _CUOBJDUMP)


def _parts(kind: str, source: Path) -> list[str]:
    """The kernels of a file, one by one; a file without any proves nothing.

    Raises:
        CheckError
    """
    _, *texts = _PARTS[kind].split(source.read_text("utf-8"))
    parts = [text for text in texts if "(" in text]
    if not parts:
        raise CheckError(f"{source.name} holds no kernel")
    return parts


def check_opencl(source: Path) -> str:
    """Compile OpenCL C to machine code of no device in particular.

    Raises:
        MissingToolError, CheckError
    """
    parts = _parts("opencl", source)
    clang = find("clang", "apt install clang")
    said = ["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header", "-w"]
    with tempfile.TemporaryDirectory() as folder:  # clang removes the file of what it refuses
        result = Path(folder) / "kernels.bc"
        output([clang, *said, "-target", "spir64", "-c", "-emit-llvm", "-o", result, source])
    return f"clang: {len(parts)} kernels of OpenCL C 1.2"


def check_metal(source: Path) -> str:
    """Parse Metal source as the C++ that it is, with declarations of what Metal adds.

    Raises:
        MissingToolError, CheckError
    """
    parts = _parts("metal", source)
    clang = find("clang++", "apt install clang")
    options = ["-x", "cl", "-cl-std=clc++", "-Xclang", "-finclude-default-header", "-w"]
    for part in parts:
        with tempfile.NamedTemporaryFile("w", suffix=".clcpp") as file:
            text = part.replace("using namespace metal;", "")
            file.write(f'#include "{PRELUDE}"\n{text}')
            file.flush()
            output([clang, *options, "-target", "spir64", "-fsyntax-only", file.name])
    return f"clang: {len(parts)} Metal kernels parsed as C++ for OpenCL"


def check_webgpu(source: Path) -> str:
    """Let naga, WebGPU's compiler in Firefox, validate each WGSL shader.

    Raises:
        MissingToolError, CheckError
    """
    shaders = _parts("webgpu", source)
    try:
        import wgpu
    except ImportError as error:
        raise MissingToolError(f"needs wgpu ({_WGPU})") from error
    try:
        device = wgpu.gpu.request_adapter_sync().request_device_sync()
    except (RuntimeError, OSError) as error:
        raise MissingToolError(f"needs a Vulkan driver ({_WGPU})") from error
    for shader in shaders:
        try:
            device.create_shader_module(code=shader)
        except wgpu.GPUError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            reason = next((line.strip() for line in lines if "error" in line), lines[-1])
            raise CheckError(f"naga: {reason}") from error
    return f"naga: {len(shaders)} WGSL shaders are valid"


# The check of each kind of target; CUDA's asks for an architecture too.
CHECKS: dict[str, Callable[[Path], str]] = {
    "metal": check_metal,
    "opencl": check_opencl,
    "webgpu": check_webgpu,
}


def check_kernels(kind: str, source: Path, arch: str | None) -> str:
    """Check the kernels of a target's kind; `arch` is CUDA's.

    Raises:
        MissingToolError, CheckError
    """
    if kind == "cuda":
        if arch is None:
            raise UserError("a CUDA target has an architecture")
        return check_cuda(source, arch)
    return CHECKS[kind](source)
