"""DINOv2's pictures are taken as they are: of the size that the network resizes them to.

`Dino._preprocess_input` resizes every picture to the network's size, by bilinear interpolation
that changes nothing where it has that size already: the program would resize every picture to no
effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from sam3d_objects.model.backbone.dit.embedder.dino import Dino
    from torch import nn


def preprocess_input(dino: Dino, x: Tensor) -> Tensor:
    """Return pictures (B, 3 or 1, size, size) in [0, 1] as (B, 3, size, size), normalised.

    Raises `ValueError` for pictures of another size.
    """
    if tuple(x.shape[2:]) != dino.resize_input_size:
        raise ValueError(f"pictures are {tuple(x.shape[2:])}, not {dino.resize_input_size}")
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    return (x - dino.mean) / dino.std if dino.normalize_images else x


@contextmanager
def dino_pictures(model: nn.Module) -> Iterator[None]:
    """Replace the preprocessing."""
    from sam3d_objects.model.backbone.dit.embedder.dino import Dino

    with replaced(Dino, "_preprocess_input", preprocess_input):
        yield


PATCH = Patch(
    name="dino_pictures",
    symptom="silent: a bilinear resize of every picture to the size that it has",
    versions={"sam3d": "0.1.2"},
    upstream=None,
    apply=dino_pictures,
)
