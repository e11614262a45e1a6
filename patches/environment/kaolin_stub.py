"""A stand-in for the one function of kaolin that `sam3d_objects` imports.

`flexicubes` checks its arguments' shapes with `kaolin.utils.testing.check_tensor`. kaolin itself
is a package of GPU kernels.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor

from sam_tvm.patches.patch import Patch


def check_tensor(
    tensor: Tensor,
    shape: Sequence[int | None] | None = None,
    dtype: Any = None,
    device: Any = None,
    throw: bool = True,
) -> bool:
    """Return whether `tensor` is as described; None describes any size, type or device.

    Raises `ValueError` for the shape and `TypeError` for the rest if `throw` is set.
    """
    if shape is not None and not _fits(tensor.shape, shape):
        if throw:
            raise ValueError(f"tensor shape is {tuple(tensor.shape)}, should be {tuple(shape)}")
        return False
    if dtype not in (None, tensor.dtype) or device not in (None, tensor.device, str(tensor.device)):
        if throw:
            raise TypeError(f"tensor is {tensor.dtype} on {tensor.device}, not {dtype}, {device}")
        return False
    return True


def _fits(sizes: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(sizes) == len(shape) and all(
        wanted in (None, size) for size, wanted in zip(sizes, shape, strict=True)
    )


@contextmanager
def kaolin_stub() -> Iterator[None]:
    """Provide `kaolin.utils.testing.check_tensor`, unless kaolin is installed."""
    if "kaolin" in sys.modules or importlib.util.find_spec("kaolin") is not None:
        yield
        return
    names = ("kaolin", "kaolin.utils", "kaolin.utils.testing")
    stubs = {name: _module(name) for name in names}
    stubs[names[-1]].check_tensor = check_tensor  # type: ignore[attr-defined]
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def _module(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    return module


PATCH = Patch(
    name="kaolin_stub",
    symptom="No module named 'kaolin'",
    versions={"sam3d": "0.1.2"},
    upstream=None,
    apply=kaolin_stub,
)
