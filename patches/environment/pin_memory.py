"""Pinning memory is a no-op where there is no accelerator to copy it to.

`SequenceGeometryEncoder._encode_boxes` pins a small tensor on its way to the device of the boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch


def _unchanged(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return tensor


@contextmanager
def pin_memory() -> Iterator[None]:
    """Make `Tensor.pin_memory` return the tensor itself, unless there is an accelerator."""
    if torch.accelerator.is_available():
        yield
        return
    with replaced(torch.Tensor, "pin_memory", _unchanged):
        yield


PATCH = Patch(
    name="pin_memory",
    symptom="Cannot access accelerator device when none is available.",
    versions={"torch": "2.13.0+cpu", "sam3": "0.1.4"},
    upstream=None,
    apply=pin_memory,
)
