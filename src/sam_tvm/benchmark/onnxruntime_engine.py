"""ONNX Runtime on the CPU.

The process holds the session: the weights, and the copies that ONNX Runtime packs for itself. The
dynamic axes are fixed to the benchmark's sizes, which it can only gain from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from sam_tvm.benchmark.onnx_workload import onnx_workload
from sam_tvm.benchmark.workload import OnnxFiles, Request, Workload

ERRORS_ONLY = 3


def load(request: Request, _stack: ExitStack) -> Workload:
    """The component or the end-to-end run."""
    return onnx_workload(request, lambda files: OnnxRuntimeModel(files, request.threads))


class OnnxRuntimeModel:
    """A component in a session."""

    def __init__(self, files: OnnxFiles, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        for axis, size in files.sizes().items():
            options.add_free_dimension_override_by_name(axis, size)
        self._session = onnxruntime.InferenceSession(
            str(files.model), options, providers=["CPUExecutionProvider"]
        )
        self._names = [entry.name for entry in self._session.get_inputs()]

    def bind(self, inputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call on these inputs."""
        feed = dict(zip(self._names, map(np.ascontiguousarray, inputs), strict=True))
        return lambda: self._session.run(None, feed)

    def arrays(self, outputs: Any) -> list[np.ndarray]:
        """The outputs are arrays."""
        return outputs
