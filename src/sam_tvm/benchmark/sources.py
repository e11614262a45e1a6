"""What each engine loads a component from: found among the artifacts, or made and kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sam_tvm.benchmark import preparation
from sam_tvm.benchmark.engines import STOCK, UNTUNED, Engine
from sam_tvm.benchmark.plan import Plan
from sam_tvm.benchmark.preparation import BuildOtherwise, ExportOnnx
from sam_tvm.benchmark.process import Limits, TaskError, run_task
from sam_tvm.benchmark.workload import OnnxFiles, TvmFiles
from sam_tvm.components.base import Component
from sam_tvm.pipeline import build, export, files, keys, targets, weights
from sam_tvm.pipeline import library as pipeline_library
from sam_tvm.pipeline.job import Job, version
from sam_tvm.pipeline.store import MissingArtifactError, Store
from sam_tvm.tuning import database

ONNX_STAGE = "onnx"
MADE_BY = "scripts/benchmark_components.py"

Shapes = tuple[tuple[int, ...], ...]


class Sources:
    """Finds or makes each engine's files, once a run; what failed once fails at once again."""

    def __init__(self, plan: Plan, shapes: Mapping[str, Shapes], logs: Path) -> None:
        """Shapes are those of the components' inputs in the benchmark, by component."""
        self._plan, self._shapes, self._logs = plan, shapes, logs
        self._limits = Limits(plan.timeout_s, plan.threads)
        self._known: dict[tuple[str, str], Any] = {}

    def find(self, engine: Engine, precision: str, component: Component) -> Any:
        """What the engine's module loads the component from; None where that is the reference.

        Raises:
            TaskError: if it could not be made.
            MissingArtifactError: if an earlier script has to be run.
        """
        if engine.onnx:
            return self._once("onnx", component, lambda: self._onnx(component))
        if engine.name == STOCK:
            job = replace(self._plan.job, stock=True, precision="float32")
            return self._once(STOCK, component, lambda: self._otherwise(job, component))
        if engine.name == UNTUNED:
            job = replace(self._plan.job, tuned=False, precision=precision)
            return self._once(
                f"{UNTUNED} {precision}", component, lambda: self._untuned(job, component)
            )
        if engine.name == "tvm":
            job = replace(self._plan.job, precision=precision)
            return self._once(precision, component, lambda: library_files(job, component))
        return None

    def _once(self, kind: str, component: Component, make: Callable[[], Any]) -> Any:
        key = (kind, component.name)
        if key not in self._known:
            try:
                self._known[key] = make()
            except (TaskError, MissingArtifactError) as error:
                self._known[key] = error
        if isinstance(self._known[key], Exception):
            raise self._known[key]
        return self._known[key]

    def _run(self, task: Any, name: str) -> Any:
        return run_task(task, self._limits, self._logs / f"{name}.log")

    def _onnx(self, component: Component) -> OnnxFiles:
        job, store = self._plan.job, onnx_store(self._plan.job, component)
        exported = job.store(component).record(export.STAGE)
        if exported is None:
            raise MissingArtifactError(f"{component.name} is not exported: run {export.MADE_BY}")
        described = exported["files"][export.EXPORTED]
        key = onnx_key(described["sha256"])

        def make(folder: Path) -> dict[str, Any]:
            program = None
            if not described.get("dropped"):
                program = job.store(component).file(export.STAGE, export.EXPORTED, export.MADE_BY)
            task = ExportOnnx(job, component, program, folder)
            return {"axes": self._run(task, f"{component.name}-onnx")}

        if not store.is_current(ONNX_STAGE, key):
            store.commit(ONNX_STAGE, key, make, job.header(component))
        record = store.record(ONNX_STAGE)
        paths = {name: store.file(ONNX_STAGE, name, MADE_BY) for name in record["files"]}
        axes = tuple(tuple(axis) for axis in record["axes"])
        return OnnxFiles(paths[preparation.ONNX_FILE], axes, self._shapes[component.name])

    def _untuned(self, job: Job, component: Component) -> TvmFiles:
        if database.find(targets.resolve(job.target)) is None:
            raise TaskError(f"nothing was tuned on a machine that is {job.target} here")
        return self._otherwise(job, component)

    def _otherwise(self, job: Job, component: Component) -> TvmFiles:
        job = replace(job, components=(component,))
        self._run(BuildOtherwise(job), f"{component.name}-{job.build_name}")
        return library_files(job, component)

    def drop_onnx(self, parts: Iterable[Component]) -> None:
        """Delete the ONNX models."""
        for component in parts:
            store = onnx_store(self._plan.job, component)
            for name in (store.record(ONNX_STAGE) or {"files": {}})["files"]:
                store.drop(ONNX_STAGE, name)


def onnx_store(job: Job, component: Component) -> Store:
    """Where a component's ONNX model lies: apart, as no stage of the port depends on it."""
    return Store(job.store(component).folder / ONNX_STAGE)


def onnx_key(exported_sha256: str) -> str:
    """Key of an ONNX model, from the hash of the exported program."""
    return files.sha256_of_json(
        {
            "exported": exported_sha256,
            "sources": keys.sources("benchmark/preparation.py"),
            "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript")},
        }
    )


def library_files(job: Job, component: Component) -> TvmFiles:
    """A component's library and parameters, checked.

    Raises:
        ArtifactError: if it is not built, is corrupt, or asks for instructions that this CPU lacks.
    """
    library, order = pipeline_library.library_file(job, component)
    return TvmFiles(library, weights.params_file(job, component), order)


def kernel_rules(job: Job, component: Component) -> dict[str, str]:
    """The rule that made each function of a component's library; empty where that is not known."""
    return (job.store(component).record(build.stage_name(job)) or {}).get("kernels", {})


def packing_seconds(job: Job, component: Component) -> float | None:
    """What packing the parameters took at build time, once; None where that is not known."""
    return (job.store(component).record(weights.stage_name(job)) or {}).get("seconds")
