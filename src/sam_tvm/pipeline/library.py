"""Running one component's library on numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from sam_tvm.components.base import Component
from sam_tvm.pipeline import build, targets, weights
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.store import ArtifactError, MissingArtifactError
from sam_tvm.runtime.device import find_device, to_device
from sam_tvm.runtime.instructions import Requirements
from sam_tvm.runtime.threads import allow_all_cpus
from sam_tvm.runtime.weights import map_weights


def library_file(job: Job, component: Component) -> tuple[Path, tuple[str, ...]]:
    """A component's library, checked, and the names of its parameters in order.

    Raises:
        ArtifactError: if it is not built, is corrupt, or asks for instructions that this CPU lacks.
    """
    store, stage = job.store(component), build.stage_name(job)
    record = store.record(stage)
    if record is None:
        raise MissingArtifactError(
            f"{component.name} is not built for {job.build_name}: run {build.MADE_BY} first"
        )
    path = store.file(stage, record["library"], build.MADE_BY)
    if reason := Requirements.from_json(record["cpu"]).unmet():
        raise ArtifactError(f"{path} {reason}")
    return path, tuple(record["params"])


class Library:
    """A component's function with its parameters; arrays in, arrays out."""

    def __init__(self, job: Job, component: Component) -> None:
        path, order = library_file(job, component)
        params = map_weights(weights.params_file(job, component))
        self._device = find_device(str(targets.resolve(job.target).kind.name))
        self._params = [to_device(params[name], self._device) for name in order]
        allow_all_cpus()
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), self._device)
        self._function = machine[component.name]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs for inputs given in the signature's order."""
        tensors = [tvm.runtime.tensor(array, self._device) for array in inputs.values()]
        outputs: Sequence[tvm.runtime.Tensor] = self._function(*tensors, *self._params)
        return [output.numpy() for output in outputs]
