"""The reference, in a process of its own: a model's unpatched modules on every case.

Runs as ``python -m sam_tvm.pipeline.reference_worker REQUEST.json`` under the environment patches
alone; it refuses to start where a model or importer patch has been imported. With precision
``float64`` it is the referee: the same modules, evaluated in float64 throughout; with ``bfloat16``
and ``float16`` they run under torch's own autocast, the yardstick of our builds in them.

Components on sparse tensors are an exception. Their reference in float32 is `sam3d_objects` on
spconv, whose CPU kernels know float32 alone; in the other precisions the component's module on
tensors alone stands for it: the one that is exported, which the tests of `models.sam3d.sparse`
prove equal to the reference in float32.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from sam_tvm import components
from sam_tvm.components.base import Case, Component
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.presets import get_preset
from sam_tvm.models.referee import float64_evaluation
from sam_tvm.models.source import WeightsInfo, WeightsSource
from sam_tvm.models.weights import Loader, loader
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import files
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.pipeline.stage import one_line
from sam_tvm.runtime.errors import UserError

FORBIDDEN = ("sam_tvm.patches.model", "sam_tvm.patches.importer", "tvm")

Evaluate = Callable[[Component, dict[str, np.ndarray]], list[np.ndarray]]


def assert_unpatched() -> None:
    """Raise RuntimeError if this process has imported a model or importer patch, or TVM."""
    loaded = [name for name in FORBIDDEN if name in sys.modules]
    if loaded:
        raise RuntimeError(f"not a reference: {', '.join(loaded)} is imported in this process")


def end_in_order() -> None:
    """Let SIGTERM, which ends the worker of an interrupted run, unwind: temporary files go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def reference_loader(request: dict[str, Any]) -> Loader:
    """What loads the unpatched modules of a request's model."""
    if request["model"] == "sam3":
        whole = cache(lambda: load_sam3(request))
        return lambda component: whole()
    return loader(request["model"], get_preset(request["preset"]), _source(request))


def load_sam3(request: dict[str, Any]) -> tuple[nn.Module, WeightsInfo]:
    """The unpatched SAM3 of a request; a checkpoint's values are those that `sam3` itself loads.

    Ours is loaded first, which refuses what does not fit: `sam3` would only print it. The loader
    of `sam3d_objects` would run what is in a pickle, and is not used.
    """
    source = _source(request)
    model, weights = loader("sam3", get_preset(request["preset"]), source)("")
    if source.checkpoint is not None:
        from sam3.model_builder import _load_checkpoint

        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
        with torch_file(model, source.checkpoint) as path:
            _load_checkpoint(model, str(path))
    return model, weights


@contextlib.contextmanager
def torch_file(model: nn.Module, checkpoint: Path) -> Iterator[Path]:
    """The checkpoint as a file of `torch.save`, which is all that `sam3` reads.

    A safetensors file holds no complex numbers, so the rotary frequencies are added.
    """
    if checkpoint.suffix != ".safetensors":
        yield checkpoint
        return
    from sam_tvm.models.checkpoint_file import read_checkpoint
    from sam_tvm.models.sam3.checkpoint import PREFIX

    frequencies = {PREFIX + k: v for k, v in model.state_dict().items() if v.is_complex()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        torch.save({**frequencies, **read_checkpoint(checkpoint)}, path)
        yield path


def _source(request: dict[str, Any]) -> WeightsSource:
    checkpoint = request["checkpoint"]
    return WeightsSource(Path(checkpoint) if checkpoint else None, request["seed"])


_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def evaluation(model: nn.Module, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The scope in which `model` computes in a precision."""
    if precision == "float64":
        return float64_evaluation(model)
    if precision in _HALVES:
        return torch.autocast("cpu", _HALVES[precision])
    return contextlib.nullcontext()


def evaluate(
    model: nn.Module, component: Component, inputs: dict[str, np.ndarray], precision: str
) -> list[np.ndarray]:
    """Outputs of the component's reference call in the signature's order; halves as float32."""
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    if precision == "float64":
        tensors = [t.double() if t.is_floating_point() else t for t in tensors]
    call = component.call
    if component.tensor_only is not None and precision != "float32":
        model, call = component.tensor_only(model).eval(), nn.Module.__call__
    with torch.inference_mode(), evaluation(model, precision):
        outputs = call(model, *tensors)
    return [as_array(output) for output in outputs]


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as a numpy array, which has no bfloat16; float16 becomes float32 too."""
    return (tensor.float() if tensor.dtype in _HALVES.values() else tensor).numpy()


def case_file(folder: Path, component: Component, case: Case) -> Path:
    """Where a case's outputs lie."""
    return folder / component.name / f"{case.name}.npz"


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an ``.npz`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def run_component(request: dict[str, Any], component: Component, model: nn.Module) -> None:
    """Run all cases of one component."""
    config = components.config_of(component.model, get_preset(request["preset"]))
    names = [spec.name for spec in component.signature(config).outputs]
    for case in component.cases:
        inputs = make_inputs(component, config, case)
        outputs = evaluate(model, component, inputs, request["precision"])
        arrays = dict(zip(names, outputs, strict=True))
        save_arrays(case_file(Path(request["output"]), component, case), arrays)


def run_components(request: dict[str, Any]) -> dict[str, Any]:
    """Run the requested components: what the weights were, and the errors by component."""
    load, selected = reference_loader(request), components.select(request["components"])
    result: dict[str, Any] = {"weights": {}, "errors": {}}
    for component in tqdm(selected, desc=f"torch {request['precision']}"):
        try:
            model, weights = load(component.name)
            result["weights"] = weights.record()
            run_component(request, component, model)
        except UserError:  # a checkpoint that cannot be used serves no component
            raise
        except Exception as error:
            result["errors"][component.name] = one_line(error)
    return result


def main() -> int:
    """Answer the request named on the command line."""
    end_in_order()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    assert_unpatched()
    silence_harmless_warnings()
    with reference_environment(request["model"]):
        result = run_components(request)
    assert_unpatched()
    files.write_json(Path(request["result"]), result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
