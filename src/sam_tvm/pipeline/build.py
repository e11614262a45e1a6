"""Stage 3: Relax modules to libraries, one a component and one end to end a model.

The components' parameters are packed for their libraries in the same stage (`weights`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from sam_tvm import components
from sam_tvm.components.base import Component
from sam_tvm.kernels.default import rules_used
from sam_tvm.patches.compiler import compiler_patches
from sam_tvm.pipeline import importing, keys, targets, weights
from sam_tvm.pipeline.compose import Part, compose
from sam_tvm.pipeline.instructions import requirements
from sam_tvm.pipeline.job import Job, version
from sam_tvm.pipeline.kernel_sources import write_sources
from sam_tvm.pipeline.linking import write_library
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.pipeline.prepare import prepare_component
from sam_tvm.pipeline.stage import Outcome, run_stage
from sam_tvm.pipeline.store import MissingArtifactError
from sam_tvm.runtime import nvrtc
from sam_tvm.tuning import database as tuning

MADE_BY = "scripts/03_build.py"


@dataclass(frozen=True)
class _EndToEnd:
    """A whole model, to be built as one library."""

    model: str

    @property
    def name(self) -> str:
        """As the folder is called."""
        return f"{self.model}_end_to_end"


def stage_name(job: Job) -> str:
    """The build's name in a manifest."""
    return f"build/{job.build_name}"


def compile_library(module: tvm.IRModule, job: Job, folder: Path) -> dict[str, Any]:
    """Compile `module` into a subfolder named after the build; what the record says of it."""
    target = targets.resolve(job.target)
    if target.kind.name == "cuda":
        nvrtc.use_for_cuda()
    with target, tvm.transform.PassContext(opt_level=3):
        if job.stock:
            executable, rules = relax.build(module, target), {}
        else:
            module = pipeline(target, job.tuned)(module)
            executable, rules = relax.build(module, target, relax_pipeline=None), rules_used(module)
    library = write_library(executable, target, folder / job.build_name)
    write_sources(executable, target, folder / job.build_name)
    return {
        "library": f"{job.build_name}/{library.name}",
        "target": str(target),
        "cpu": requirements(targets.code_target(target)),
        "kernels": rules,
        "versions": {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")},
    }


def _module_hash(job: Job, component: Component) -> str:
    record = job.store(component).record(importing.STAGE)
    if record is None:
        raise MissingArtifactError(
            f"{component.name} is not imported: run {importing.MADE_BY} first"
        )
    return record["files"][importing.MODULE]["sha256"]


def _key(job: Job, modules: list[str], functions: object = None) -> str:
    target = targets.resolve(job.target)
    database = tuning.find(target) if job.tuned and not job.stock else None
    tuned = database and asdict(database)
    return keys.build_key(modules, str(target), tuned, job, functions)


def library_key(job: Job, component: Component) -> str:
    """What a component's library is made from."""
    return _key(job, [_module_hash(job, component)])


def _build_component(job: Job, component: Component) -> bool:
    """Compile the component and pack its parameters; False if both are up to date."""
    store, stage, key = job.store(component), stage_name(job), library_key(job, component)
    prepared = cache(lambda: prepare_component(job, component))

    def make(folder: Path) -> dict[str, Any]:
        facts = compile_library(prepared().module, job, folder)
        return {"params": list(prepared().params), **facts}

    built = not store.is_current(stage, key)
    if built:
        store.commit(stage, key, make, job.header(component))
    return weights.pack_component(job, component, key, prepared) or built


def _end_to_end_key(job: Job, model: str) -> str:
    parts = sorted(components.components(model), key=lambda part: part.name)
    hashes = [_module_hash(job, part) for part in parts]
    return _key(job, hashes, components.functions(model, job.preset))


def _build_end_to_end(job: Job, model: str) -> bool:
    parts = {component.name: component for component in components.components(model)}
    functions = components.functions(model, job.preset)
    store, stage, key = job.model_store(model), stage_name(job), _end_to_end_key(job, model)

    def make(folder: Path) -> dict[str, Any]:
        prepared = {name: prepare_component(job, part) for name, part in parts.items()}
        composed = compose(
            functions, {n: Part(n, lifted.module, lifted.params) for n, lifted in prepared.items()}
        )
        return {"params": composed.params, **compile_library(composed.module, job, folder)}

    store.commit(stage, key, make, {"model": model, "preset": job.preset.name})
    return True


def build_components(job: Job) -> list[Outcome]:
    """Build each selected component, then the end-to-end library of each whole model.

    A model whose components are not all imported yet has no end-to-end library; that is only an
    error when all its components were asked for.

    """
    selected = {part.name for part in job.components}
    whole = [
        _EndToEnd(model)
        for model in job.models
        if {part.name for part in components.components(model)} <= selected
    ]
    items = (*job.components, *whole)
    begin = partial(_builder, job)
    return run_stage("build", items, partial(_is_current, job), begin, job.processes)


@contextmanager
def _builder(job: Job) -> Iterator[Callable[[Component | _EndToEnd], bool]]:
    """What builds an item, as the same bytes each time."""
    with compiler_patches():
        yield partial(_build, job)


def _is_current(job: Job, item: Component | _EndToEnd) -> bool:
    if isinstance(item, _EndToEnd):
        key = _end_to_end_key(job, item.model)
        return job.model_store(item.model).is_current(stage_name(job), key)
    key = library_key(job, item)
    return job.store(item).is_current(stage_name(job), key) and weights.is_current(job, item, key)


def _build(job: Job, item: Component | _EndToEnd) -> bool:
    if isinstance(item, _EndToEnd):
        return _build_end_to_end(job, item.model)
    return _build_component(job, item)
