"""`sam_tvm::windowed_attention`: attention of voxels to those in their window, kept whole.

Windows hold between one voxel and a few hundred. Written out, queries, keys and values are gathered
into windows as long as the fullest one, most of which is padding. As one operator in the exported
program it can become one kernel, which reads rows where they lie and no padding. The implementation
here is plain torch, for any floating-point type; it has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sam_tvm.patches.operators import define

_SCHEMA = "windowed_attention(Tensor qkv, Tensor windows, Tensor slots) -> Tensor"

# Kept for the life of the process: exported programs refer to the operator.
_library: torch.library.Library | None = None


def declare() -> None:
    """Define the operator, once. A program that calls it can only be loaded where it is defined."""
    global _library
    if _library is None:
        _library = define("sam_tvm", _SCHEMA, windowed_attention, _shape)


def windowed_attention(qkv: Tensor, windows: Tensor, slots: Tensor) -> Tensor:
    """Attend from each voxel to all in its window, with scores scaled by depth**-0.5.

    Args:
        qkv: (N, 3, heads, depth).
        windows: (W, L) int32, the voxels of each window from 1, then zeros.
        slots: (N,) int32, each voxel's place in the flattened `windows`, from 0.

    Returns:
        (N, heads * depth).
    """
    present = windows > 0
    # Any row does where no voxel is: as a key it is masked, as a query it is not read.
    voxel = torch.where(present, windows - 1, 0)
    gathered = torch.index_select(qkv, 0, voxel.reshape(-1))
    q, k, v = gathered.unflatten(0, voxel.shape).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=present[:, None, None, :])
    return torch.index_select(out.permute(0, 2, 1, 3).flatten(2).flatten(0, 1), 0, slots)


def _shape(qkv: Tensor, windows: Tensor, slots: Tensor) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[2] * qkv.shape[3])
