"""The device that a library runs on: this CPU, or a GPU with a memory of its own."""

from __future__ import annotations

import numpy as np
import tvm

from sam_tvm.runtime import nvrtc
from sam_tvm.runtime.errors import UserError


def find_device(kind: str) -> tvm.runtime.Device:
    """The device that runs libraries of a kind of target (``llvm``, ``cuda``, ``opencl``, ...).

    CUDA source that a library may hold will be compiled by NVRTC in this process.

    Raises:
        UserError: this machine has none, or this TVM has no runtime for it.
    """
    device = tvm.cpu() if kind == "llvm" else tvm.device(kind, 0)
    if not device.exist:
        raise UserError(
            f"no {kind} device runs here: TVM comes without the runtime, or the machine without "
            "the device or its driver"
        )
    if kind == "cuda":
        nvrtc.use_for_cuda()
    return device


def shares_memory(device: tvm.runtime.Device) -> bool:
    """Whether the device works in the CPU's memory."""
    return device == tvm.cpu()


def to_device(tensor: tvm.runtime.Tensor, device: tvm.runtime.Device) -> tvm.runtime.Tensor:
    """The tensor, copied if the device has a memory of its own."""
    return tensor if shares_memory(device) else tensor.copyto(device)


def to_array(tensor: tvm.runtime.Tensor, device: tvm.runtime.Device) -> np.ndarray:
    """A view of a tensor on the CPU, which keeps it alive; a copy of one on another device."""
    return np.from_dlpack(tensor) if shares_memory(device) else tensor.numpy()
