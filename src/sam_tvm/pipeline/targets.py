"""Target names of the command line as TVM targets."""

from __future__ import annotations

import shlex

import tvm
from tvm.target import codegen

from sam_tvm.kernels.target_features import has_bfloat16
from sam_tvm.pipeline import instructions
from sam_tvm.runtime.errors import UnknownNameError, UserError
from sam_tvm.runtime.instructions import architecture

KNOWN_KINDS = ("llvm",)
# Those that TVM's packages hold a code generator for and that have the memory for a model.
KNOWN_ARCHITECTURES = ("x86_64", "aarch64", "riscv64", "wasm32")


def resolve(name: str) -> tvm.target.Target:
    """The TVM target for a name such as ``llvm`` (this CPU) or ``llvm -mcpu=haswell``.

    Raises:
        UnknownNameError: for a kind or an option that the pipeline does not know.
    """
    kind, *options = shlex.split(name) or [""]
    if kind not in KNOWN_KINDS:
        raise UnknownNameError(
            f"there is no target {name!r}; known targets: llvm, llvm -mcpu=NAME (and -mtriple=NAME)"
        )
    config: dict[str, object] = {"kind": kind}
    for option in options:
        key, _, value = option.removeprefix("-").partition("=")
        if key not in ("mcpu", "mtriple") or not value:
            raise UnknownNameError(
                f"target option {option!r} is not known; use -mcpu=NAME or -mtriple=NAME"
            )
        config[key] = value
    if "mtriple" in config:
        _check_architecture(str(config["mtriple"]))
    elif "mcpu" not in config:
        config |= _this_cpu()
    _check_cpu(config)
    return tvm.target.Target(config)


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
    """Refuse a precision that the target has no instructions for.

    Raises:
        UserError: for bfloat16 on a CPU without `dpbf16ps`.
    """
    if precision == "bfloat16" and not has_bfloat16(target):
        raise UserError(
            f"target {target.attrs.get('mcpu', target.kind.name)} has no bfloat16 instructions"
            " (avx512_bf16): use --precision float32"
        )
