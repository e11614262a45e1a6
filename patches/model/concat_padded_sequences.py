"""Concatenation of two right-padded sequences without assignment to a slice.

The original copies the first sequence into a slice of a buffer, and TVM assigns to slices of
constant sizes only. It also asserts, by a sort, that the padding is on the right; that is the
caller's duty here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn


def concat_padded_sequences(
    seq1: Tensor, mask1: Tensor, seq2: Tensor, mask2: Tensor, return_index: bool = False
) -> tuple[Tensor, ...]:
    """Return the valid tokens of both sequences one after the other, padding last.

    The sequences are (n1, B, D) and (n2, B, D), the masks (B, n1) and (B, n2), True where padded,
    padding on the right. Returns the sequence (n1+n2, B, D) and its mask (B, n1+n2); with
    `return_index` also where the tokens of `seq2` went, (n2, B). Padding of `seq2` keeps its
    values, as in the original.
    """
    length1, length2 = seq1.shape[0], seq2.shape[0]
    valid1, valid2 = (~mask1).sum(dim=1), (~mask2).sum(dim=1)
    mask = torch.arange(length1 + length2)[None, :] >= (valid1 + valid2)[:, None]
    index = torch.arange(length2)[:, None] + valid1[None, :]
    room = torch.cat([seq1.to(seq2.dtype), torch.zeros_like(seq2)])
    sequence = room.scatter(0, index[:, :, None].expand(-1, -1, seq2.shape[2]), seq2)
    return (sequence, mask, index) if return_index else (sequence, mask)


@contextmanager
def concatenation(model: nn.Module) -> Iterator[None]:
    """Replace the function where the geometry encoder looks it up."""
    from sam3.model import geometry_encoders

    with replaced(geometry_encoders, "concat_padded_sequences", concat_padded_sequences):
        yield


PATCH = Patch(
    name="concat_padded_sequences",
    symptom="Expect value to be constant int",
    versions={"sam3": "0.1.4", "torch": "2.13.0", "apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply=concatenation,
)
