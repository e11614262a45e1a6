"""The engines: where each one's code is, what it needs installed, what it can be asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sam_tvm.runtime.errors import UnknownNameError

OURS, REFERENCE = "tvm", "eager"
# TVM without our kernels, and with them but without tuning records: to compare with, no rivals.
STOCK, UNTUNED = "tvm-stock", "tvm-untuned"
CPU = "llvm"  # the kind of target that is this CPU; others are a GPU's


@dataclass(frozen=True)
class Engine:
    """One engine.

    Attributes:
        name: as in the report.
        module: with its `load`.
        packages: what must be installed, beside what ports a model.
        without: precision -> why the engine does not have it.
        onnx: whether it reads ONNX.
        warm_up_runs: at least so many, however long they take.
        devices: kinds of GPU that it can be timed on, beside the CPU.
        sparse: whether it is another way to run what works on sparse tensors, and that alone.
    """

    name: str
    module: str
    packages: tuple[str, ...] = ()
    without: tuple[tuple[str, str], ...] = ()
    onnx: bool = False
    warm_up_runs: int = 1
    devices: tuple[str, ...] = ()
    sparse: bool = False

    def why_not_time(self, component: str, threads: int) -> str | None:
        """Why this component cannot be timed on so many threads; None if it can."""
        if not self.sparse:
            return None
        from sam_tvm import components

        found = [part for part in components.components() if part.name == component]
        if not any(part.tensor_only is not None for part in found):
            return "has no sparse tensors"
        # With more, its kernels for the CPU write over what the others add.
        return None if threads == 1 else "is right with one thread alone: --threads 1"

    def why_not(self, precision: str, kind: str = CPU) -> str | None:
        """Why the engine cannot run here, on this kind of device; None if it can."""
        if kind != CPU and self.name != OURS and kind not in self.devices:
            return f"not timed on {kind}"
        if reason := dict(self.without).get(precision):
            return reason
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} not installed: pip install 'sam-tvm[bench]'"
        return None


_PACKAGE = "sam_tvm.benchmark"
_EXPORT = ("onnx", "onnxscript")

ENGINES = {
    engine.name: engine
    for engine in (
        Engine(OURS, f"{_PACKAGE}.tvm_engine"),
        Engine(REFERENCE, f"{_PACKAGE}.torch_engine", devices=("cuda",)),
        # The second run may find that what the first one compiled was too special.
        Engine("compile", f"{_PACKAGE}.torch_engine", warm_up_runs=3, devices=("cuda",)),
        # The reference's own classes, where "eager" is the modules on tensors.
        Engine(
            "spconv",
            f"{_PACKAGE}.torch_engine",
            without=(("bfloat16", "spconv's kernels for the CPU are float32"),),
            sparse=True,
        ),
        Engine(
            "onnxruntime",
            f"{_PACKAGE}.onnxruntime_engine",
            packages=("onnxruntime", *_EXPORT),
            without=(("bfloat16", "no bfloat16 kernels for the CPU"),),
            onnx=True,
        ),
        Engine(
            "openvino", f"{_PACKAGE}.openvino_engine", packages=("openvino", *_EXPORT), onnx=True
        ),
        Engine(
            STOCK,
            f"{_PACKAGE}.tvm_engine",
            without=(("bfloat16", "the default pipeline keeps float32"),),
        ),
        Engine(UNTUNED, f"{_PACKAGE}.tvm_engine"),
    )
}


def select(names: Iterable[str] | None) -> tuple[Engine, ...]:
    """Ours and the engines called `names`, or all of them.

    Raises:
        UnknownNameError: for a name that is not an engine's; the message lists those that are.
    """
    if names is None:
        return tuple(ENGINES.values())
    for name in names:
        if name not in ENGINES:
            raise UnknownNameError(
                f"there is no engine {name!r}; known engines: {', '.join(ENGINES)}"
            )
    return tuple(ENGINES[name] for name in dict.fromkeys((OURS, *names)))


def rotated(engines: Sequence[Engine], round_index: int) -> list[Engine]:
    """The engines in the order of a round: each round starts with another one."""
    start = round_index % len(engines) if engines else 0
    return [*engines[start:], *engines[:start]]
