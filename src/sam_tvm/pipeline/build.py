"""Stage 3: Relax modules to libraries, one a component and one end to end a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from sam_tvm import components
from sam_tvm.components.base import Component
from sam_tvm.pipeline import importing, keys, targets
from sam_tvm.pipeline.compose import Part, compose
from sam_tvm.pipeline.files import sha256_of_file
from sam_tvm.pipeline.job import Job, version
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.pipeline.stage import Outcome, one_line, run_stage
from sam_tvm.pipeline.store import OUTSIDE_ERRORS, MissingArtifactError

MADE_BY = "scripts/03_build.py"


def stage_name(job: Job) -> str:
    """The build's name in a manifest."""
    return f"build/{job.build_name}"


def compile_library(module: tvm.IRModule, target: tvm.target.Target, folder: Path) -> str:
    """Compile `module` into `folder`; the library's name holds its hash.

    dlopen answers with the library it has for a path that it has loaded before, so a rebuilt
    library must have another name.
    """
    with target, tvm.transform.PassContext(opt_level=3):
        executable = relax.build(module, target=target, relax_pipeline=pipeline(target))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lib.so"
    executable.export_library(str(path))
    named = folder / f"lib-{sha256_of_file(path)[:12]}.so"
    path.replace(named)
    return named.name


def _facts(target: tvm.target.Target, library: str) -> dict[str, Any]:
    return {
        "library": library,
        "target": str(target),
        "versions": {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")},
    }


def _module_hash(job: Job, component: Component) -> str:
    record = job.store(component).record(importing.STAGE)
    if record is None:
        raise MissingArtifactError(
            f"{component.name} is not imported: run {importing.MADE_BY} first"
        )
    return record["files"][importing.MODULE]["sha256"]


def load_part(job: Job, component: Component) -> Part:
    """A component's imported function, checked against its hash."""
    store = job.store(component)
    path = store.file(importing.STAGE, importing.MODULE, importing.MADE_BY)
    return Part(
        importing.load_function(path, component.name), store.record(importing.STAGE)["params"]
    )


def _build_component(job: Job, component: Component, target: tvm.target.Target) -> bool:
    store, stage = job.store(component), stage_name(job)
    key = keys.build_key([_module_hash(job, component)], str(target), job.precision)
    if store.is_current(stage, key):
        return False

    def make(folder: Path) -> dict[str, Any]:
        module = tvm.IRModule({component.name: load_part(job, component).function})
        library = compile_library(module, target, folder / job.build_name)
        return _facts(target, f"{job.build_name}/{library}")

    store.commit(stage, key, make, job.header(component))
    return True


def _build_end_to_end(job: Job, model: str, target: tvm.target.Target) -> bool:
    parts = {component.name: component for component in components.components(model)}
    functions = components.functions(model, job.preset)
    hashes = [_module_hash(job, parts[name]) for name in sorted(parts)]
    key = keys.build_key(hashes, str(target), job.precision, functions)
    store, stage = job.model_store(model), stage_name(job)
    if store.is_current(stage, key):
        return False

    def make(folder: Path) -> dict[str, Any]:
        composed = compose(functions, {name: load_part(job, part) for name, part in parts.items()})
        library = compile_library(composed.module, target, folder / job.build_name)
        return {"params": composed.params, **_facts(target, f"{job.build_name}/{library}")}

    store.commit(stage, key, make, {"model": model, "preset": job.preset.name})
    return True


def build_components(job: Job) -> list[Outcome]:
    """Build each selected component, then the end-to-end library of each whole model.

    A model whose components are not all imported yet has no end-to-end library; that is only an
    error when all its components were asked for.

    Raises:
        UnknownNameError: for a target that the pipeline does not know.
    """
    target = targets.resolve(job.target)
    outcomes = run_stage(
        "build", job.components, lambda component: _build_component(job, component, target)
    )
    for model in job.models:
        if {part.name for part in components.components(model)} <= {
            part.name for part in job.components
        }:
            outcomes.append(_build_model(job, model, target))
    return outcomes


def _build_model(job: Job, model: str, target: tvm.target.Target) -> Outcome:
    name = f"{model}_end_to_end"
    try:
        return Outcome(name, skipped=not _build_end_to_end(job, model, target))
    except MissingArtifactError as error:
        return Outcome(name, error=one_line(error))
    except OUTSIDE_ERRORS:
        raise
    except Exception as error:
        return Outcome(name, error=one_line(error))
