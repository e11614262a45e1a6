"""Declares the operators without which torchvision cannot be imported.

torchvision registers shape functions for `nms` and `qnms` while it is imported. Where its C++
library does not load (PyPI's wheel beside a CPU-only torch) those operators do not exist. SAM3's
image model never calls them, so declarations without kernels are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sam_tvm.patches.patch import Patch

_SYMPTOM = "operator torchvision::nms does not exist"
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# Kept for the life of the process: torchvision stays imported, and its registrations must not be
# left with operators that are gone. A declared operator without a kernel still cannot be called.
_library: torch.library.Library | None = None


def declare() -> None:
    """Import torchvision; where that fails for want of its operators, declare them first."""
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        _library = torch.library.Library("torchvision", "FRAGMENT")
        _library.define("nms" + _ARGUMENTS)
        _library.define("qnms" + _ARGUMENTS)
        import torchvision  # noqa: F401


@contextmanager
def torchvision_operators() -> Iterator[None]:
    """Make torchvision importable; nothing to undo (see `_library`)."""
    declare()
    yield


PATCH = Patch(
    name="torchvision_operators",
    symptom=_SYMPTOM,
    versions={"torch": "2.13.0+cpu", "torchvision": "0.28.0"},
    upstream="https://github.com/pytorch/vision/issues/9085",
    apply=torchvision_operators,
)
