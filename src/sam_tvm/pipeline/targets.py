"""Target names of the command line as TVM targets."""

from __future__ import annotations

import shlex

import tvm
from tvm.target import codegen

from sam_tvm.runtime.errors import UnknownNameError

KNOWN_KINDS = ("llvm",)


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
    if "mtriple" not in config:
        config.setdefault("mcpu", codegen.llvm_get_system_cpu())
    _check_cpu(config)
    return tvm.target.Target(config)


def _check_cpu(config: dict[str, object]) -> None:
    """Refuse a CPU that LLVM would warn about and compile for as if none were given."""
    triple = {"kind": "llvm", **{k: v for k, v in config.items() if k == "mtriple"}}
    known = codegen.llvm_get_cpu_archlist(tvm.target.Target(triple))
    if "mcpu" in config and config["mcpu"] not in known:
        raise UnknownNameError(
            f"target CPU {config['mcpu']!r} is not one of LLVM's; try llvm alone for this CPU"
        )
