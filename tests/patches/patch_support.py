"""What the tests of the patches share: a run through TVM, the referee's rule, a naive roi_align."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor, nn
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.patches.patch import Converter


class Calls(nn.Module):
    """A module whose forward is the given function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def export(
    function: Callable[..., Any], *example: Tensor, sizes: tuple[Any, ...] | None = None
) -> torch.export.ExportedProgram:
    """Export a function or module; `sizes` has a {axis: name of the dynamic size} per input."""
    module = function if isinstance(function, nn.Module) else Calls(function)
    dims: dict[str, Any] = {}
    shapes = None
    if sizes is not None:
        shapes = tuple(
            {axis: dims.setdefault(name, torch.export.Dim(name)) for axis, name in given.items()}
            for given in sizes
        )
        if isinstance(module, Calls):
            shapes = (shapes,)  # forward takes *inputs
    with torch.no_grad():
        return torch.export.export(module, example, dynamic_shapes=shapes, strict=False)


def build(
    program: torch.export.ExportedProgram,
    converters: Mapping[str, Converter] | None = None,
    *passes: tvm.ir.transform.Pass,
) -> Callable[..., list[np.ndarray]]:
    """Import and build a program for the CPU, after `passes`; returns a function of its inputs."""
    module = from_exported_program(
        program, keep_params_as_input=True, custom_convert_map=dict(converters or {})
    )
    for each in passes:
        module = each(module)
    module, params = relax.frontend.detach_params(module)
    # The pipeline without fusion and constant folding: these programs run once.
    library = relax.build(module, target="llvm", relax_pipeline="default_build")
    machine = relax.VirtualMachine(library, tvm.cpu())

    def run(*inputs: Tensor) -> list[np.ndarray]:
        arguments = [tvm.runtime.tensor(tensor.numpy()) for tensor in inputs]
        outputs = machine["main"](*arguments, *params.get("main", []))
        return [output.numpy() for output in outputs]

    return run


def assert_as_accurate_as_torch(actual: Any, from_torch: Any, referee: Any) -> None:
    """Hold `actual` to twice the error of PyTorch's float32 result against float64."""
    actual, from_torch, referee = (
        np.asarray(torch.as_tensor(value).double()) for value in (actual, from_torch, referee)
    )
    assert actual.shape == referee.shape
    error, allowed = np.abs(actual - referee).max(), 2 * np.abs(from_torch - referee).max()
    rounding = np.finfo(np.float32).eps * max(1.0, np.abs(referee).max())
    assert error <= max(allowed, rounding)


def naive_roi_align(
    images: np.ndarray,
    rois: np.ndarray,
    scale: float,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> np.ndarray:
    """Pool (N,C,H,W) over boxes (K,5), sample by sample in float64, as torchvision documents it."""
    images, rois = np.asarray(images, np.float64), np.asarray(rois, np.float64)
    pooled = np.zeros((len(rois), images.shape[1], height, width))
    for k, roi in enumerate(rois):
        left, top, right, bottom = roi[1:] * scale - (0.5 if aligned else 0.0)
        box_width, box_height = right - left, bottom - top
        if not aligned:
            box_width, box_height = max(box_width, 1.0), max(box_height, 1.0)
        bin_height, bin_width = box_height / height, box_width / width
        rows = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_height)
        columns = sampling_ratio if sampling_ratio > 0 else math.ceil(bin_width)
        for p, q, i, j in np.ndindex(height, width, max(rows, 0), max(columns, 0)):
            y = top + (p + (i + 0.5) / rows) * bin_height
            x = left + (q + (j + 0.5) / columns) * bin_width
            pooled[k, :, p, q] += _sample(images[int(roi[0])], y, x) / max(rows * columns, 1)
    return pooled


def _sample(image: np.ndarray, y: float, x: float) -> Any:
    """Interpolate (C,H,W) at a point; 0 from one pixel outside on, the border's value before."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    i, j = min(int(y), height - 2), min(int(x), width - 2)
    dy, dx = y - i, x - j
    corners = image[:, i : i + 2, j : j + 2]
    return np.einsum("chw,h,w->c", corners, [1 - dy, dy], [1 - dx, dx])
