"""What `torch.export` or TVM cannot take in `sam3`'s modules, in a form that they can.

Each patch computes what the module computes: the same values from the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sam_tvm.patches.model import (
    batched_boxes,
    concat_padded_sequences,
    position_cache,
    real_rope,
    sequence_length,
    static_box_attention,
)
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn

PATCHES: tuple[Patch, ...] = (
    real_rope.PATCH,
    static_box_attention.PATCH,
    sequence_length.PATCH,
    concat_padded_sequences.PATCH,
    batched_boxes.PATCH,
    position_cache.PATCH,
)


@contextmanager
def export_patches(model: nn.Module) -> Iterator[None]:
    """Hold all model patches while `model`, or a module that contains it, is exported.

    Enter `reference_environment()` first. `model` is any module tree; its buffers and caches are
    as before on exit. Run the reference outside: inside, the patched code runs.
    """
    with ExitStack() as stack:
        for patch in PATCHES:
            stack.enter_context(patch.apply(model))
        yield
