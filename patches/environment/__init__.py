"""What lets `sam3` and `sam3d_objects` import, build and run on a machine without a GPU.

Neither triton, kaolin nor torchvision's C++ operators need to be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sam_tvm.patches import gathered_product, windowed_attention
from sam_tvm.patches.environment import (
    cuda_constructors,
    cuda_gaussians,
    kaolin_stub,
    pin_memory,
    roi_align,
    sam3d_package,
    torchvision_operators,
    triton_stub,
)
from sam_tvm.patches.patch import Patch

# In order: the last of each model imports it, which needs all that comes before.
ENVIRONMENTS: dict[str, tuple[Patch, ...]] = {
    "sam3": (
        torchvision_operators.PATCH,
        roi_align.PATCH,
        pin_memory.PATCH,
        triton_stub.PATCH,
        cuda_constructors.PATCH,
    ),
    "sam3d": (
        torchvision_operators.PATCH,
        sam3d_package.PATCH,
        kaolin_stub.PATCH,
        cuda_gaussians.PATCH,
    ),
}
PATCHES: tuple[Patch, ...] = tuple(
    {patch.name: patch for patches in ENVIRONMENTS.values() for patch in patches}.values()
)


@contextmanager
def reference_environment(*models: str) -> Iterator[None]:
    """Hold all that the unpatched references of `models` need to import, build and run.

    Without a model that is `sam3`. The packages are imported; their arithmetic is untouched: this
    is the environment of the reference itself. Each patch leaves alone what is really there (a
    GPU, triton, kaolin, torchvision's operators), and the context may be nested and entered
    again. On exit all that was replaced is restored; imported modules and the declarations of
    torchvision's operators stay.
    """
    with ExitStack() as stack:
        for model in dict.fromkeys(models or ("sam3",)):
            for patch in ENVIRONMENTS[model]:
                stack.enter_context(patch.apply())
        yield


def declare_operators() -> None:
    """Define the operators that exported programs call, for the life of the process.

    `torch.export.load` needs them; nothing of `sam3` is imported.
    """
    roi_align.declare()
    gathered_product.declare()
    windowed_attention.declare()
