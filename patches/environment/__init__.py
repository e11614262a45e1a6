"""What lets `sam3` import, build and run on a machine without GPU, triton or torchvision's C++."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sam_tvm.patches.environment import (
    cuda_constructors,
    pin_memory,
    roi_align,
    torchvision_operators,
    triton_stub,
)
from sam_tvm.patches.patch import Patch

# In order: cuda_constructors imports sam3, which needs all that comes before.
PATCHES: tuple[Patch, ...] = (
    torchvision_operators.PATCH,
    roi_align.PATCH,
    pin_memory.PATCH,
    triton_stub.PATCH,
    cuda_constructors.PATCH,
)


@contextmanager
def reference_environment() -> Iterator[None]:
    """Hold all that the unpatched reference needs to import, build and run; imports `sam3`.

    The arithmetic of `sam3` is untouched: this is the environment of the reference itself. Each
    patch leaves alone what is really there (a GPU, triton, torchvision's operators), and the
    context may be nested and entered again. On exit all that was replaced is restored; imported
    modules and the declarations of torchvision's operators stay.
    """
    with ExitStack() as stack:
        for patch in PATCHES:
            stack.enter_context(patch.apply())
        yield


def declare_operators() -> None:
    """Define the operators that exported programs call, for the life of the process.

    `torch.export.load` needs them; nothing of `sam3` is imported.
    """
    roi_align.declare()
