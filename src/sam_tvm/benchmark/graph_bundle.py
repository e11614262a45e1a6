"""What `Segmenter` wants of a bundle, over components that another engine has loaded.

An engine without an end-to-end module runs component by component, with numpy moving the data in
between as `sam_tvm.components.graph` says. The moves take well under a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from sam_tvm.benchmark.workload import EndToEnd, Model
from sam_tvm.components.graph import Call, ComposedFunction, Concat, Last, Step, Tokens
from sam_tvm.runtime.tokenizer import Tokenizer


class GraphBundle:
    """Runs composed functions; stands in for `sam_tvm.runtime.bundle.Bundle`."""

    def __init__(self, models: Mapping[str, Model], run: EndToEnd) -> None:
        self._models = models
        self._functions = {function.name: function for function in run.functions}
        self.tokenizer = Tokenizer(run.tokenizer, run.context_length)
        self.manifest = SimpleNamespace(
            model="sam3",
            folder=run.tokenizer.parent,
            functions=self._functions,
            image_size=run.image_size,
            image_mean=run.image_mean,
            image_std=run.image_std,
        )

    def call(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a composed function on arrays by name."""
        function = self._functions[name]
        tensors, sizes = dict(inputs), _sizes(function, inputs)
        for step in function.steps:
            self._run(step, tensors, sizes)
        return {output: tensors[output] for output in function.outputs}

    def _run(self, step: Step, tensors: dict[str, np.ndarray], sizes: dict[str, int]) -> None:
        if isinstance(step, Call):
            model = self._models[step.component]
            outputs = model.arrays(model.bind([tensors[name] for name in step.inputs])())
            tensors.update(zip(step.outputs, outputs, strict=True))
        elif isinstance(step, Tokens):
            feature_map = tensors[step.input]
            sequence = feature_map.reshape(feature_map.shape[1], -1).T[:, None]
            shape = (sequence.shape[0], sizes[step.batch], sequence.shape[2])
            tensors[step.output] = np.ascontiguousarray(np.broadcast_to(sequence, shape))
        elif isinstance(step, Concat):
            tensors[step.output] = np.concatenate([tensors[n] for n in step.inputs], step.axis)
        elif isinstance(step, Last):
            tensors[step.output] = tensors[step.input][-1]
        else:
            raise TypeError(f"unknown step {step!r}")


def _sizes(function: ComposedFunction, inputs: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Size of each dynamic axis."""
    return {
        axis: size
        for spec in function.inputs
        for axis, size in zip(spec.shape, inputs[spec.name].shape, strict=True)
        if isinstance(axis, str)
    }
