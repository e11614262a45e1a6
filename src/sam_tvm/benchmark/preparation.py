"""Tasks that make what an engine loads: ONNX models, stock libraries, what PyTorch expects."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.benchmark.process import Phase, TaskError
from sam_tvm.benchmark.workload import EVERYTHING, Request
from sam_tvm.components.base import Component
from sam_tvm.pipeline.job import Job

# The newest version whose RoiAlign and Attention ONNX Runtime 1.31 runs as they are exported:
# it has no kernel for RoiAlign-22, and refuses masks that Attention-23 broadcasts.
OPSET = 20
ONNX_FILE = "model.onnx"

Axes = tuple[tuple[int | str, ...], ...]


@dataclass(frozen=True)
class ExportOnnx:
    """Write a component as ONNX, from the exported program that TVM gets too.

    The process holds the program, and one copy of the weights while they are written.

    Attributes:
        job: preset and weights.
        component: which one.
        exported: its exported program; None where it was dropped: it is exported anew then.
        folder: where the model goes, with its weights beside it.
    """

    job: Job
    component: Component
    exported: Path | None
    folder: Path

    def run(self, phase: Phase) -> Axes:
        """The inputs' axes: sizes, or the names of dynamic axes."""
        import torch

        phase("loading")
        program = _without_own_operators(self._program())
        phase("exporting to ONNX")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ONNX_FILE
        torch.onnx.export(
            program, f=str(path), dynamo=True, external_data=True, opset_version=OPSET
        )
        return _input_axes(path)

    def _program(self) -> object:
        import torch

        from sam_tvm.benchmark.torch_engine import load_part
        from sam_tvm.patches.environment import declare_operators, reference_environment
        from sam_tvm.pipeline.export import export_program

        if self.exported is not None:
            declare_operators()
            return torch.export.load(self.exported)
        with reference_environment(self.component.model):
            job, source = self.job, self.job.source(self.component.model)
            model = load_part(job.preset, source, self.component)
            return export_program(self.component, job.config(self.component), model)


def _without_own_operators(program: Any) -> Any:
    """The program with our own operators written out in torch's."""
    import torch

    from sam_tvm.patches import gathered_product, windowed_attention

    operators = torch.ops.sam_tvm
    own = {
        operators.gathered_product.default: gathered_product.gathered_product,
        operators.windowed_attention.default: windowed_attention.windowed_attention,
    }
    if not any(node.target in own for node in program.graph.nodes):
        return program
    return program.run_decompositions(own)


def _input_axes(path: Path) -> Axes:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    return tuple(
        tuple(axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim)
        for entry in graph.input
    )


@dataclass(frozen=True)
class BuildOtherwise:
    """Build a component in the job's way, which is not the usual one, into its artifacts."""

    job: Job

    def run(self, phase: Phase) -> None:
        """Build; raises TaskError with the reason if that fails."""
        from sam_tvm.pipeline.build import build_components

        phase("building")
        for outcome in build_components(self.job):
            if outcome.error:
                raise TaskError(outcome.error)


@dataclass(frozen=True)
class ExpectComponent:
    """What a component is in PyTorch.

    Attributes:
        request: PyTorch's.
        path: ``.npz`` to write, outputs by name.
    """

    request: Request
    path: Path

    def run(self, phase: Phase) -> None:
        """Run the component once."""
        from sam_tvm.benchmark import torch_engine

        with ExitStack() as stack:
            phase("loading PyTorch's")
            workload = torch_engine.load(self.request, stack)
            phase("running PyTorch's")
            for step in workload.steps.values():
                step()
            np.savez(self.path, **workload.outputs())


@dataclass(frozen=True)
class ExpectEndToEnd:
    """What `Sam3Processor` finds in the picture of the end-to-end run.

    Attributes:
        request: PyTorch's; its threshold lets everything through.
        path: ``.npz`` to write.
    """

    request: Request
    path: Path

    def run(self, phase: Phase) -> float:
        """Write scores, boxes and masks of every query; returns a threshold in their widest gap."""
        from sam_tvm.benchmark import torch_engine
        from sam_tvm.pipeline.detections import counted, widest_gap_threshold

        run = replace(self.request.end_to_end, threshold=EVERYTHING)
        with ExitStack() as stack:
            phase("loading Sam3Processor")
            workload = torch_engine.load(replace(self.request, end_to_end=run), stack)
            phase("running Sam3Processor")
            for step in workload.steps.values():
                step()
            outputs = workload.outputs()
        np.savez(self.path, **outputs)
        random = self.request.checkpoint is None
        return widest_gap_threshold(outputs["scores"], counted(False, random))
