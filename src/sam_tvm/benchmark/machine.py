"""Which machine the figures are of, and with what software."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tvm.target import codegen

from sam_tvm.benchmark.engines import CPU
from sam_tvm.pipeline.export import STAGE
from sam_tvm.pipeline.job import Job
from sam_tvm.runtime.device import find_device

_CPU_INFO = Path("/proc/cpuinfo")
PACKAGES = ("sam-tvm", "torch", "sam3", "apache-tvm", "onnxruntime", "openvino")


def cpu_name() -> str:
    """The processor as the system calls it, and as LLVM does."""
    name = platform.processor() or platform.machine()
    if _CPU_INFO.exists():
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name} ({codegen.llvm_get_system_cpu()})"


def installed(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_name(kind: str) -> str | None:
    """A GPU as its driver calls it; None for the CPU."""
    return None if kind == CPU else str(find_device(kind).device_name or kind)


def header(
    job: Job, threads: int, peaks: dict[str, float | None], kind: str = CPU
) -> dict[str, Any]:
    """What the report says besides its rows.

    Args:
        job: whose components, exported from the same weights.
        threads: of every engine.
        peaks: the machine's GFLOP/s by precision, None where they are not known.
        kind: of target.
    """
    weights = {}
    for component in job.components:
        recorded = (job.store(component).record(STAGE) or {}).get("weights", {})
        weights[component.model] = {name: recorded.get(name) for name in ("source", "sha256")}
    return {
        "preset": job.preset.name,
        "target": job.target,
        "machine": {
            "cpu": cpu_name(),
            "device": device_name(kind),
            "threads": threads,
            "fma_peak_gflops": peaks["float32"],
            "fma_peak_gflops_bfloat16": peaks["bfloat16"],
        },
        "weights": weights,
        "versions": installed(PACKAGES),
    }
