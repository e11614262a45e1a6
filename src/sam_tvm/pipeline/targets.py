"""Target names of the command line as TVM targets."""

from __future__ import annotations

import re
import shlex

import tvm
from tvm.target import codegen

from sam_tvm.kernels.target_features import computes_bfloat16
from sam_tvm.pipeline import instructions
from sam_tvm.runtime.errors import UnknownNameError, UserError
from sam_tvm.runtime.instructions import architecture

# Options that each kind of target takes.
KNOWN_OPTIONS = {
    "llvm": ("mcpu", "mtriple"),
    "cuda": ("arch",),
    "metal": (),
    "opencl": (),
    "webgpu": (),
    "vulkan": (),
    "rocm": ("mcpu",),
}
# The code that starts the kernels runs beside them.
_HOSTS = {"metal": "arm64-apple-macos", "webgpu": "wasm32-unknown-unknown-wasm"}
# What dlight's schedules ask for and TVM does not know of a kind: what every such device has.
# Metal's reductions go through memory like OpenCL's: those by shuffles, which TVM would take,
# declare threadgroup memory inside loops.
_LIMITS = {
    "cuda": {"max_shared_memory_per_block": 49152, "max_threads_per_block": 1024},
    "metal": {"thread_warp_size": 1},
    "opencl": {"max_shared_memory_per_block": 32768},
    "webgpu": {"max_shared_memory_per_block": 16384},
}
_CUDA_ARCH = re.compile(r"sm_\d+a?")
# Those that TVM's packages hold a code generator for and that have the memory for a model.
KNOWN_ARCHITECTURES = ("x86_64", "aarch64", "riscv64", "wasm32")


def resolve(name: str) -> tvm.target.Target:
    """The TVM target for a name such as ``llvm`` (this CPU), ``llvm -mcpu=haswell`` or ``cuda``.

    Raises:
        UnknownNameError: for a kind or an option that the pipeline does not know.
        UserError: for ``cuda`` without an architecture where there is no GPU.
    """
    kind, *options = shlex.split(name) or [""]
    if kind not in KNOWN_OPTIONS:
        raise UnknownNameError(
            f"there is no target {name!r}; known targets: llvm, llvm -mcpu=NAME (and -mtriple=NAME)"
            ", cuda (this GPU), cuda -arch=sm_NUMBER, metal, opencl, webgpu, vulkan, rocm"
        )
    config: dict[str, object] = {"kind": kind, **_given(kind, options)}
    if kind != "llvm":
        return _device_target(config)
    if "mtriple" in config:
        _check_architecture(str(config["mtriple"]))
    elif "mcpu" not in config:
        config |= _this_cpu()
    _check_cpu(config)
    return tvm.target.Target(config)


def _given(kind: str, options: list[str]) -> dict[str, str]:
    """The options of a target's name."""
    config = {}
    for option in options:
        key, _, value = option.removeprefix("-").partition("=")
        if key not in KNOWN_OPTIONS[kind] or not value:
            known = " or ".join(f"-{key}=NAME" for key in KNOWN_OPTIONS[kind]) or "no options"
            raise UnknownNameError(f"target option {option!r} is not known; use {known}")
        config[key] = value
    return config


def is_device(target: tvm.target.Target) -> bool:
    """Whether kernels run on a device of their own, a GPU, and not on the CPU."""
    return str(target.kind.name) != "llvm"


def code_target(target: tvm.target.Target) -> tvm.target.Target:
    """The CPU target of a library: the target itself, or what starts a GPU's kernels."""
    return target.host if is_device(target) else target


def _device_target(config: dict[str, object]) -> tvm.target.Target:
    kind = str(config["kind"])
    if kind == "cuda":
        config["arch"] = config.get("arch") or _this_gpu()
        if not _CUDA_ARCH.fullmatch(str(config["arch"])):
            raise UnknownNameError(f"CUDA architecture {config['arch']!r} is not known; use sm_80")
    # Any CPU of its architecture: it does little work.
    host = {"kind": "llvm", "mtriple": _HOSTS.get(kind, codegen.llvm_get_system_triple())}
    return tvm.target.Target({**_LIMITS.get(kind, {}), **config, "host": host})


def _this_gpu() -> str:
    device = tvm.device("cuda", 0)
    if not device.exist:
        raise UserError(
            "target cuda is the GPU of this machine, which has none that TVM can use: "
            "name an architecture, cuda -arch=sm_80"
        )
    return "sm_" + str(device.compute_version).replace(".", "")


def _this_cpu() -> dict[str, object]:
    """This CPU by its name, and where it differs from that."""
    config: dict[str, object] = {"mcpu": codegen.llvm_get_system_cpu()}
    attributes = instructions.corrections(tvm.target.Target({"kind": "llvm", **config}))
    return config | ({"mattr": attributes} if attributes else {})


def _check_architecture(triple: str) -> None:
    """Refuse a triple that LLVM would crash on."""
    if architecture(triple) not in KNOWN_ARCHITECTURES:
        known = ", ".join(f"{name}-..." for name in KNOWN_ARCHITECTURES)
        raise UnknownNameError(f"target triple {triple!r} is not known; known triples: {known}")


def _check_cpu(config: dict[str, object]) -> None:
    """Refuse a CPU that LLVM would warn about and compile for as if none were given."""
    cpu, triple = config.get("mcpu"), config.get("mtriple") or codegen.llvm_get_system_triple()
    if cpu is not None and not codegen.llvm_is_valid_cpu(cpu, triple):
        raise UnknownNameError(
            f"target CPU {cpu!r} is not one of LLVM's for {architecture(str(triple))}; "
            "try llvm alone for this CPU"
        )


def check_precision(target: tvm.target.Target, precision: str) -> None:
    """Refuse a precision that the target has no instructions or no kernels for.

    Raises:
        UserError: for bfloat16 on a CPU without AVX-512 or on a GPU, for float16 on a CPU.
    """
    name = target.attrs.get("mcpu", target.kind.name)
    if precision == "bfloat16" and is_device(target):
        raise UserError(f"target {name} has no bfloat16 kernels: use --precision float16")
    if precision == "float16" and not is_device(target):
        raise UserError(f"target {name} has no float16 kernels: use --precision float32")
    if precision == "bfloat16" and not computes_bfloat16(target):
        raise UserError(f"target {name} has no AVX-512 for bfloat16: use --precision float32")
