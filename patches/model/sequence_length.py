"""`len(tensor)` that keeps a symbolic size symbolic.

`PositionEmbeddingSine._encode_xy` asserts `len(x) == len(y)`, and `len` of a traced tensor is a
plain int: the number of points or boxes is fixed to that of the example.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn


def _length(sized: Any) -> Any:
    return sized.shape[0] if isinstance(sized, Tensor) else builtins.len(sized)


@contextmanager
def sequence_length(model: nn.Module) -> Iterator[None]:
    """Shadow `len` in the module that defines the position encoding."""
    from sam3.model import position_encoding

    with replaced(position_encoding, "len", _length):
        yield


PATCH = Patch(
    name="sequence_length",
    symptom="You marked n as dynamic but your code specialized it to be a constant (3).",
    versions={"sam3": "0.1.4", "torch": "2.13.0"},
    upstream=None,
    apply=sequence_length,
)
