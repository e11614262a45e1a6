"""TVM: our libraries, and those of TVM's default pipeline (``tvm-stock``).

The process holds the library and the weights once, mapped from their file. PyTorch, which TVM
would import where it is installed, is kept out: a bundle runs without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from sam_tvm.benchmark.kernel_times import kernel_times
from sam_tvm.benchmark.workload import (
    END_TO_END,
    Request,
    TvmFiles,
    Workload,
    component_workload,
    end_to_end_workload,
)


def load(request: Request, _stack: ExitStack) -> Workload:
    """The component or the end-to-end run; from the bundle where there is one."""
    sys.modules["torch"] = None  # importing it fails
    if request.name != END_TO_END:
        model = TvmModel(request.models[request.name], request.name, request.kind)
        workload = component_workload(model, request)
        return Workload(workload.steps, workload.outputs, lambda: model.profile(request.arrays()))

    from sam_tvm.runtime import Segmenter

    if request.bundle is not None:
        # The files were compared with their hashes before the first round.
        segmenter = Segmenter.load(request.bundle, verify=False)
    else:
        from sam_tvm.benchmark.graph_bundle import GraphBundle

        models = {
            name: TvmModel(files, name, request.kind) for name, files in request.models.items()
        }
        segmenter = Segmenter(GraphBundle(models, request.end_to_end))
    return end_to_end_workload(segmenter, request)


class TvmModel:
    """A component's library with its parameters, on the device of a kind of target."""

    def __init__(self, files: TvmFiles, name: str, kind: str) -> None:
        import tvm

        from sam_tvm.runtime.device import find_device, to_device
        from sam_tvm.runtime.weights import map_weights

        self._device = find_device(kind)
        params = map_weights(files.params)
        self._params = [to_device(params[param], self._device) for param in files.order]
        library = tvm.runtime.load_module(str(files.library))
        self._machine = tvm.runtime.vm.VirtualMachine(library, self._device)
        self._function = self._machine[name]

    def bind(self, inputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call on these inputs, which ends when the device has."""
        import tvm

        tensors = (tvm.runtime.tensor(array, self._device) for array in inputs)
        arguments = [*tensors, *self._params]

        def call() -> Any:
            outputs = self._function(*arguments)
            self._device.sync()
            return outputs

        return call

    def arrays(self, outputs: Any) -> list[np.ndarray]:
        """The outputs; views of them, where the device is this CPU."""
        from sam_tvm.runtime.device import to_array

        return [to_array(output, self._device) for output in outputs]

    def profile(self, inputs: Sequence[np.ndarray]) -> dict[str, float]:
        """Seconds that each function takes in one run; the machine stays instrumented."""
        return kernel_times(self._machine, self.bind(inputs))
