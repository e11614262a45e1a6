"""PyTorch: the unpatched reference as `reference_worker` runs it, eager or through torch.compile.

The process holds the weights of what it runs, once; bfloat16 is torch's own autocast, which adds
bfloat16 copies of them while it lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from sam_tvm.benchmark.engines import CPU, ENGINES
from sam_tvm.benchmark.memory import reset_peak_rss
from sam_tvm.benchmark.workload import (
    END_TO_END,
    Request,
    Workload,
    component_workload,
    end_to_end_workload,
)
from sam_tvm.components.base import Component
from sam_tvm.models.presets import Preset, get_preset
from sam_tvm.models.source import WeightsSource


class NoDeviceError(Exception):
    """torch has no such device."""


class NotCompiledError(Exception):
    """torch.compile left everything to eager execution."""


def load(request: Request, stack: ExitStack) -> Workload:
    """The component, or the end-to-end run through `Sam3Processor`."""
    import torch

    compiled = request.engine == "compile"
    if compiled:
        # It asks for triton's version, which the stub of the environment does not have.
        import torch._inductor.compile_fx
    from sam_tvm.patches.environment import reference_environment
    from sam_tvm.pipeline.quiet import silence_harmless_warnings

    silence_harmless_warnings()
    torch.set_num_threads(request.threads)
    stack.enter_context(reference_environment(model_of(request)))
    stack.enter_context(torch.inference_mode())
    device = torch_device(request)
    model = load_request(request).to(device)
    reset_peak_rss()  # of what building the model took, which no user of it needs
    if request.precision != "float32":
        stack.enter_context(torch.autocast(device, getattr(torch, request.precision)))
    load_workload = _end_to_end if request.name == END_TO_END else _component
    workload = load_workload(model, request, compiled)
    return _assert_compiled(workload) if compiled else workload


def torch_device(request: Request) -> str:
    """What torch calls the device that is asked for.

    Raises:
        NoDeviceError: this torch cannot use it.
    """
    import torch

    if request.kind == CPU:
        return "cpu"
    if not torch.cuda.is_available():
        raise NoDeviceError("this torch has no CUDA: install one that has")
    return "cuda"


def model_of(request: Request) -> str:
    """The model that a request is of."""
    from sam_tvm import components

    return "sam3" if request.name == END_TO_END else components.select([request.name])[0].model


def load_part(preset: Preset, source: WeightsSource, component: Component | None) -> Any:
    """What of the reference model a component needs, with its weights; None: the whole of SAM3.

    Random weights are drawn for that part alone, so that no more is ever in memory; a checkpoint
    is loaded whole, and the rest given back. The caller holds `reference_environment` of the model.
    """
    from sam_tvm.models.sam3.build import build_model
    from sam_tvm.models.sam3.random_weights import fill_random
    from sam_tvm.models.subtree import prune
    from sam_tvm.models.weights import loader

    if component is not None and component.model != "sam3":
        return loader(component.model, preset, source)(component.name)[0]
    if source.checkpoint is None:
        model = build_model(preset.sam3)
    else:
        model, _ = loader("sam3", preset, source)("")
    if component is not None:
        model = prune(model, component.modules)
    if source.checkpoint is None:
        fill_random(model, source.seed)
    return model


def load_request(request: Request) -> Any:
    """The part of the reference model that a request needs."""
    from sam_tvm import components

    component = None if request.name == END_TO_END else components.select([request.name])[0]
    source = WeightsSource(request.checkpoint, request.seed)
    return load_part(get_preset(request.preset), source, component)


def component_function(
    component: Component, model: Any, sparse: bool = False
) -> Callable[..., Any]:
    """The component as a function of its inputs.

    Where the reference works on sparse tensors, on spconv with one thread, it is the module on
    tensors alone, which is the same for every engine; unless those classes are asked for.
    """
    if component.tensor_only is not None and not sparse:
        return component.tensor_only(model).eval()
    return partial(component.call, model)


def _component(model: Any, request: Request, compiled: bool) -> Workload:
    import torch

    from sam_tvm import components

    (component,) = components.select([request.name])
    function = component_function(component, model, sparse=ENGINES[request.engine].sparse)
    return component_workload(
        TorchModel(torch.compile(function) if compiled else function, torch_device(request)),
        request,
    )


def _end_to_end(model: Any, request: Request, compiled: bool) -> Workload:
    from sam3.model.sam3_image_processor import Sam3Processor

    from sam_tvm import components

    if compiled:
        # The processor handles pictures and strings; what the components are made of is compiled.
        parts = [path for part in components.components("sam3") for path in part.modules]
        for path in dict.fromkeys(parts):
            model.get_submodule(path).compile()
    size = request.end_to_end.image_size
    processor = Sam3Processor(model, resolution=size, device=torch_device(request))
    return end_to_end_workload(processor, request, as_array)


def _assert_compiled(workload: Workload) -> Workload:
    """The same, whose outputs are refused if nothing was compiled."""
    from torch._dynamo.utils import counters

    def outputs() -> dict[str, np.ndarray]:
        if not counters["stats"]["unique_graphs"]:
            raise NotCompiledError("torch.compile compiled nothing: all of it ran eagerly")
        return workload.outputs()

    return Workload(workload.steps, outputs)


class TorchModel:
    """A component as a function of tensors on a device."""

    def __init__(self, function: Callable[..., Any], device: str = "cpu") -> None:
        self._function, self._device = function, device

    def bind(self, inputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call on these inputs, which ends when the device has."""
        import torch

        tensors = [torch.from_numpy(array).to(self._device) for array in inputs]

        def call() -> Any:
            outputs = self._function(*tensors)
            if self._device != "cpu":
                torch.cuda.synchronize()
            return outputs

        return call

    def arrays(self, outputs: Any) -> list[np.ndarray]:
        """The outputs; views of them on a CPU."""
        return [as_array(output) for output in outputs]


def as_array(tensor: Any) -> np.ndarray:
    """A tensor as an array; bfloat16, which numpy lacks, as float32."""
    import torch

    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
