"""SAM-3D's sparse modules on tensors alone: features (N, C) and tables of indices for N voxels.

Each takes the parameters of the reference module that it stands for, under the same names, and
computes the same from a plan (`sam_tvm.runtime.sparse`) that the host makes of the voxels. Nothing
here depends on how many voxels there are, so one export serves every number.
"""

from __future__ import annotations

from torch import Tensor, nn


class Named(nn.Module):
    """A module under the reference's name, so that its parameters keep their names."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The module's outputs."""
        (module,) = self.children()
        return module(*inputs)
