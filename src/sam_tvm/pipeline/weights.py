"""Parameters as a library reads them: packed once, at build time, and stored.

A component's transform (see `lifting`) is compiled for the target and run on the imported
parameters. The stock pipeline reads them as they were imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from sam_tvm.components.base import Component
from sam_tvm.pipeline import files, importing, targets
from sam_tvm.pipeline.job import Job, version
from sam_tvm.pipeline.lifting import TRANSFORM, Lifted
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.pipeline.weights_file import write_safetensors
from sam_tvm.runtime.threads import allow_all_cpus
from sam_tvm.runtime.weights import map_weights

MADE_BY = "scripts/03_build.py"
PARAMS = "params.safetensors"


def stage_name(job: Job) -> str:
    """The packing's name in a manifest."""
    return f"weights/{job.build_name}"


def params_file(job: Job, component: Component) -> Path:
    """The file with the parameters of the component's library, checked against its hash."""
    store = job.store(component)
    if job.stock:
        return store.file(importing.STAGE, importing.PARAMS, importing.MADE_BY)
    return store.file(stage_name(job), f"{job.build_name}/{PARAMS}", MADE_BY)


def params_hash(job: Job, component: Component) -> str | None:
    """Hash of that file as recorded; None where it was not made."""
    stage = importing.STAGE if job.stock else stage_name(job)
    name = importing.PARAMS if job.stock else f"{job.build_name}/{PARAMS}"
    record = job.store(component).record(stage)
    return record["files"][name]["sha256"] if record else None


def is_current(job: Job, component: Component, library_key: str) -> bool:
    """Whether the component's parameters are those that its library would read."""
    if job.stock:
        return True
    return job.store(component).is_current(stage_name(job), _key(job, component, library_key))


def _key(job: Job, component: Component, library_key: str) -> str:
    imported = job.store(component).record(importing.STAGE)["files"][importing.PARAMS]["sha256"]
    return files.sha256_of_json([library_key, imported])


def pack_component(
    job: Job, component: Component, library_key: str, prepared: Callable[[], Lifted]
) -> bool:
    """Make the component's parameters; False if they are up to date.

    Args:
        job: target, precision and folders.
        component: whose parameters.
        library_key: the key of the library that will read them.
        prepared: returns the component, prepared; called if there is anything to do.
    """
    if is_current(job, component, library_key):
        return False
    store, stage, key = job.store(component), stage_name(job), _key(job, component, library_key)
    source = store.file(importing.STAGE, importing.PARAMS, importing.MADE_BY)

    def make(folder: Path) -> dict[str, Any]:
        lifted = prepared()
        started = time.perf_counter()
        # For this CPU, which is the one to run it; the library may be for another.
        params = pack(map_weights(source), lifted, targets.resolve("llvm"))
        seconds = time.perf_counter() - started
        (folder / job.build_name).mkdir(parents=True)
        write_safetensors(folder / job.build_name / PARAMS, params)
        return {
            "packed": len(lifted.results),
            "seconds": round(seconds, 3),
            "versions": {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")},
        }

    store.commit(stage, key, make, job.header(component))
    return True


def pack(
    imported: Mapping[str, tvm.runtime.Tensor], lifted: Lifted, target: tvm.target.Target
) -> dict[str, np.ndarray]:
    """The parameters that `lifted` asks for, from those that were imported, by name."""
    made = set(lifted.results)
    params = {name: _view(imported[name]) for name in lifted.params if name not in made}
    if lifted.transform is not None:
        with target, tvm.transform.PassContext(opt_level=3):
            library = relax.build(lifted.transform, target, relax_pipeline=pipeline(target))
        allow_all_cpus()
        transform = relax.VirtualMachine(library, tvm.cpu())[TRANSFORM]
        results = transform(*(imported[name] for name in lifted.sources))
        for name, result in zip(lifted.results, results, strict=True):
            params[name] = _view(result)
    return params


def _view(tensor: tvm.runtime.Tensor) -> np.ndarray:
    """The tensor's memory as an array: parameters are too large to copy."""
    return np.from_dlpack(tensor)
