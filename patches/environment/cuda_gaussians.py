"""The Gaussians of `sam3d_objects` are built on the CPU where there is no GPU.

`Gaussian.__init__` makes its bounding box on "cuda", its constants with `Tensor.cuda`; the decoder
that builds one has no say in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.environment.cuda_constructors import on_cpu
from sam_tvm.patches.patch import Patch


@contextmanager
def cuda_gaussians() -> Iterator[None]:
    """Redirect the constructor, unless there is a GPU; imports `sam3d_objects` and spconv."""
    from sam3d_objects.model.backbone.tdfy_dit.representations.gaussian import Gaussian

    with ExitStack() as stack:
        if not torch.cuda.is_available():
            stack.enter_context(replaced(Gaussian, "__init__", on_cpu(Gaussian.__init__)))
        yield


PATCH = Patch(
    name="cuda_gaussians",
    symptom="Torch not compiled with CUDA enabled",
    versions={"sam3d": "0.1.2", "torch": "2.13.0+cpu"},
    upstream=None,
    apply=cuda_gaussians,
)
