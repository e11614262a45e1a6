"""OpenVINO on the CPU, from the same ONNX files.

The process holds the compiled model: the weights and what OpenVINO packs of them. Inputs have the
benchmark's sizes. float32 must be asked for: OpenVINO prefers bfloat16 where the CPU has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from sam_tvm.benchmark.onnx_workload import onnx_workload
from sam_tvm.benchmark.workload import OnnxFiles, Request, Workload

PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def load(request: Request, _stack: ExitStack) -> Workload:
    """The component or the end-to-end run."""
    hint = PRECISION_HINTS[request.precision]
    return onnx_workload(request, lambda files: OpenVinoModel(files, request.threads, hint))


class OpenVinoModel:
    """A component, compiled for the CPU."""

    def __init__(self, files: OnnxFiles, threads: int, hint: str) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(str(files.model))
        model.reshape({index: list(shape) for index, shape in enumerate(files.shapes)})
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(model, "CPU", options).create_infer_request()
        self._inputs: list[np.ndarray] = []

    def bind(self, inputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call on these inputs, whose memory is shared."""
        import openvino

        self._inputs = [np.ascontiguousarray(array) for array in inputs]  # OpenVINO keeps none
        for index, array in enumerate(self._inputs):
            self._request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))

        def call() -> Any:
            self._request.infer()
            return self._request.output_tensors

        return call

    def arrays(self, outputs: Any) -> list[np.ndarray]:
        """Views, which the next run overwrites."""
        return [tensor.data for tensor in outputs]
