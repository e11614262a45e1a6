"""Position encodings that are exported as a computation, never as constants.

`PositionEmbeddingSine` remembers its encodings by feature size. What it remembers when it is
traced becomes a constant of the program (113 MB for the four levels at full size), and what a
program holds would depend on the calls before the export.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def position_cache(model: nn.Module) -> Iterator[None]:
    """Give every position encoding in `model` an empty cache, and its own back on exit."""
    from sam3.model.position_encoding import PositionEmbeddingSine

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, PositionEmbeddingSine):
                stack.enter_context(replaced(module, "cache", {}))
        yield


PATCH = Patch(
    name="position_cache",
    symptom="silent: constants lifted_tensor_0, lifted_tensor_1, ... in the exported program",
    versions={"sam3": "0.1.4", "torch": "2.13.0"},
    upstream=None,
    apply=position_cache,
)
