"""Stage 1: a component of the reference model to an exported program (``exported.pt2``)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam_tvm.components.base import Component
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.source import WeightsInfo
from sam_tvm.models.subtree import prune
from sam_tvm.models.weights import Loader, identity, loader
from sam_tvm.patches.environment import reference_environment
from sam_tvm.patches.model import export_patches
from sam_tvm.pipeline import keys
from sam_tvm.pipeline.job import Job, reference_versions
from sam_tvm.pipeline.stage import Outcome, run_stage

STAGE = "export"
EXPORTED = "exported.pt2"
MADE_BY = "scripts/01_export.py"
ROOT = "model."  # prefix of parameter names inside an exported program


class ComponentModule(nn.Module):
    """A component as a module with positional tensor inputs, for torch.export.

    Where its reference works on sparse tensors, it is the module on tensors alone.
    """

    def __init__(self, model: nn.Module, component: Component) -> None:
        super().__init__()
        if component.tensor_only is None:
            self.model, self._call = prune(model, component.modules), component.call
        else:
            self.model, self._call = component.tensor_only(model), nn.Module.__call__

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The component's call on the inputs, in the order of its signature."""
        return self._call(self.model, *inputs)


def dynamic_shapes(component: Component, config: object) -> tuple[tuple[dict[int, Any], ...]]:
    """torch.export's dynamic shapes: one `Dim` for each symbol of the signature.

    No `max`: TVM would allocate the worst case.
    """
    signature = component.signature(config)
    dims = {symbol: torch.export.Dim(symbol, min=1) for symbol in signature.symbols}
    return (
        tuple(
            {axis: dims[d] for axis, d in enumerate(spec.shape) if isinstance(d, str)}
            for spec in signature.inputs
        ),
    )


def export_program(
    component: Component, config: object, model: nn.Module
) -> torch.export.ExportedProgram:
    """Export one component; the caller holds `reference_environment` of its model.

    The module runs once first, so that caches inside it (sine positions) hold real tensors.
    """
    inputs = make_inputs(component, config, component.cases[0])
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    module = ComponentModule(model, component).eval()
    with torch.no_grad(), export_patches(module, component.model):
        module(*tensors)
        return torch.export.export(
            module, tensors, dynamic_shapes=dynamic_shapes(component, config), strict=False
        )


def save_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program to `path`, through memory: torch's writer aborts the process on a full disk.

    Raises:
        OSError: if it cannot be written.
    """
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())


class _Exporter:
    """Exports components of one job; builds what of a model the first one needs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        # Before anything is written: a checkpoint that cannot be read is found here.
        self.identities = {
            model: identity(model, job.preset, job.source(model)) for model in job.models
        }
        self._loaders: dict[str, Loader] = {}

    def _load(self, component: Component) -> tuple[nn.Module, WeightsInfo]:
        model = component.model
        if model not in self._loaders:
            self._loaders[model] = loader(model, self.job.preset, self.job.source(model))
        return self._loaders[model](component.name)

    def is_current(self, component: Component) -> bool:
        """Whether the component is exported as it would be now."""
        return self.job.store(component).is_current(STAGE, self._key(component))

    def _key(self, component: Component) -> str:
        config = self.job.config(component)
        return keys.export_key(component, config, self.identities[component.model])

    def __call__(self, component: Component) -> bool:
        """Export the component."""
        config, source = self.job.config(component), self.job.source(component.model)
        store = self.job.store(component)
        model, weights = self._load(component)

        def make(folder: Path) -> dict[str, Any]:
            save_program(export_program(component, config, model), folder / EXPORTED)
            checkpoint = source.checkpoint
            return {
                "weights": weights.record(),
                "checkpoint": str(checkpoint.resolve()) if checkpoint else None,
                "seed": source.seed,
                "versions": reference_versions(component.model),
            }

        store.commit(STAGE, self._key(component), make, self.job.header(component))
        return True


def export_components(job: Job) -> list[Outcome]:
    """Export the job's components; those that are up to date are skipped.

    Raises:
        CheckpointError: if the checkpoint cannot be used; nothing is written then.
    """
    exporter = _Exporter(job)
    return run_stage(
        "export",
        job.components,
        exporter.is_current,
        partial(_exporting, exporter),
        job.processes,
    )


@contextmanager
def _exporting(exporter: _Exporter) -> Iterator[_Exporter]:
    with reference_environment(*exporter.job.models):
        yield exporter
