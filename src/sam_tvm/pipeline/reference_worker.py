"""The reference, in a process of its own: unpatched `sam3` modules on every case.

Runs as ``python -m sam_tvm.pipeline.reference_worker REQUEST.json`` under the environment patches
alone; it refuses to start where a model or importer patch has been imported. With precision
``float64`` it is the referee: the same modules, evaluated in float64 throughout; with ``bfloat16``
they run under torch's own autocast, the yardstick of our bfloat16 builds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
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
from sam_tvm.models.sam3.weights import WeightsInfo, load_model
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import files
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.pipeline.stage import one_line

RESULT = "result.json"
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


def load_reference(request: dict[str, Any]) -> tuple[nn.Module, WeightsInfo]:
    """The unpatched model of a request; a checkpoint's values are those that `sam3` itself loads.

    Ours is loaded first, which refuses what does not fit: `sam3` would only print it.
    """
    checkpoint = Path(request["checkpoint"]) if request["checkpoint"] else None
    model, weights = load_model(get_preset(request["preset"]), checkpoint, request["seed"])
    if checkpoint is not None:
        from sam3.model_builder import _load_checkpoint

        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
        _load_checkpoint(model, str(checkpoint))
    return model, weights


def evaluation(model: nn.Module, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The scope in which `model` computes in a precision."""
    if precision == "float64":
        return float64_evaluation(model)
    if precision == "bfloat16":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


def evaluate(
    model: nn.Module, component: Component, inputs: dict[str, np.ndarray], precision: str
) -> list[np.ndarray]:
    """Outputs of the component's reference call in the signature's order; bfloat16 as float32."""
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    if precision == "float64":
        tensors = [t.double() if t.is_floating_point() else t for t in tensors]
    with torch.inference_mode(), evaluation(model, precision):
        outputs = component.call(model, *tensors)
    return [as_array(output) for output in outputs]


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as a numpy array, which has no bfloat16."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


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


def run_cases(request: dict[str, Any], model: nn.Module) -> dict[str, str]:
    """Run all cases of the requested components; returns the errors by component."""
    preset, folder = get_preset(request["preset"]), Path(request["output"])
    errors: dict[str, str] = {}
    for component in tqdm(
        components.select(request["components"]), desc=f"torch {request['precision']}"
    ):
        config = components.config_of(component.model, preset)
        names = [spec.name for spec in component.signature(config).outputs]
        try:
            for case in component.cases:
                inputs = make_inputs(component, config, case)
                outputs = evaluate(model, component, inputs, request["precision"])
                arrays = dict(zip(names, outputs, strict=True))
                save_arrays(case_file(folder, component, case), arrays)
        except Exception as error:
            errors[component.name] = one_line(error)
    return errors


def main() -> int:
    """Answer the request named on the command line."""
    end_in_order()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    assert_unpatched()
    silence_harmless_warnings()
    with reference_environment():
        model, weights = load_reference(request)
        errors = run_cases(request, model)
    assert_unpatched()
    result = {"weights": asdict(weights), "errors": errors}
    files.write_json(Path(request["output"]) / RESULT, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
