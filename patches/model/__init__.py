"""What `torch.export` or TVM cannot take in the references' modules, in a form that they can.

Each patch computes what the module computes: the same values from the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sam_tvm.patches.model import (
    batched_boxes,
    concat_padded_sequences,
    dino_pictures,
    point_patches,
    position_cache,
    real_rope,
    sequence_length,
    static_box_attention,
)
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn

MODEL_PATCHES: dict[str, tuple[Patch, ...]] = {
    "sam3": (
        real_rope.PATCH,
        static_box_attention.PATCH,
        sequence_length.PATCH,
        concat_padded_sequences.PATCH,
        batched_boxes.PATCH,
        position_cache.PATCH,
    ),
    "sam3d": (dino_pictures.PATCH, point_patches.PATCH),
}
PATCHES: tuple[Patch, ...] = tuple(patch for patches in MODEL_PATCHES.values() for patch in patches)


@contextmanager
def export_patches(module: nn.Module, model: str = "sam3") -> Iterator[None]:
    """Hold all patches of `model` while `module`, a part of it, is exported.

    Enter `reference_environment(model)` first. `module` is any module tree; its buffers and caches
    are as before on exit. Run the reference outside: inside, the patched code runs.
    """
    with ExitStack() as stack:
        for patch in MODEL_PATCHES[model]:
            stack.enter_context(patch.apply(module))
        yield
