"""The pointmap embedding without assignment to a mask, `isfinite` and nearest interpolation.

`PointPatchEmbed` samples the pointmap by nearest interpolation, which TVM gets wrong for sizes
that are no multiples, and puts a learned token where a point is not finite by indexing with a mask,
which TVM does not have. Sampling is also a gather of known rows and columns, the token a choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from sam3d_objects.model.backbone.dit.embedder.pointmap import PointPatchEmbed
    from torch import nn


def embed_pointmap_windows(
    embed: PointPatchEmbed, xyz: Tensor, valid_mask: Tensor | None = None
) -> tuple[Tensor, int, int, int]:
    """Embed every point of a pointmap (B, 3, H, W) that the embedding samples.

    Points that are not finite, or where `valid_mask` (B, size, size) is false, get the learned
    token. Returns (B, size, size, width), and the first three sizes.
    """
    for axis in (2, 3):
        xyz = xyz.index_select(axis, _nearest(xyz.shape[axis], embed.input_size))
    points = xyz.permute(0, 2, 3, 1)
    if valid_mask is None:
        finite = points.abs() <= torch.finfo(points.dtype).max  # false for NaN
        x, y, z = finite.split(1, dim=-1)
        valid = x & y & z
    else:
        valid = valid_mask[..., None]
    points = embed.point_remapper(torch.where(valid, points, 0.0))
    embedded = torch.where(valid, embed.point_proj(points), embed.invalid_xyz_token)
    return embedded, *embedded.shape[:3]


def _nearest(source: int, target: int) -> Tensor:
    """Return the index that nearest interpolation takes for each of `target` elements."""
    return torch.tensor([i * source // target for i in range(target)])


def pos_embed(embed: PointPatchEmbed, hw: tuple[int, int]) -> Tensor:
    """Return the position of each window, (1, H, W, width), for the embedding's own grid.

    Raises `ValueError` for another one: its positions would have to be interpolated.
    """
    if tuple(embed.pos_embed.shape[2:]) != tuple(hw):
        raise ValueError(f"{hw} windows, not {tuple(embed.pos_embed.shape[2:])}")
    return embed.pos_embed.permute(0, 2, 3, 1)


@contextmanager
def point_patches(model: nn.Module) -> Iterator[None]:
    """Replace the embedding of the points and the windows' positions."""
    from sam3d_objects.model.backbone.dit.embedder.pointmap import PointPatchEmbed

    with ExitStack() as stack:
        for name, method in (
            ("embed_pointmap_windows", embed_pointmap_windows),
            ("_get_pos_embed", pos_embed),
        ):
            stack.enter_context(replaced(PointPatchEmbed, name, method))
        yield


PATCH = Patch(
    name="point_patches",
    symptom="silent: nearest interpolation from 518 to 256 takes the wrong points",
    versions={"sam3d": "0.1.2", "apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply=point_patches,
)
