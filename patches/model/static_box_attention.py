"""The box-relative position bias of the decoder for the decoder's own feature size.

`TransformerDecoder` reads the feature size from the tensor `spatial_shapes` and compares it with
the size that it precomputed coordinates for: a branch on data, which cannot be exported. The size
of an exported decoder is fixed, so the precomputed size is the one to use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def static_box_attention(model: nn.Module) -> Iterator[None]:
    """Use each decoder's precomputed feature size, whatever `spatial_shapes` says.

    A decoder without one (built without `resolution` and `stride`) raises ValueError. A memory of
    another size does not pass: the bias would not fit the attention.
    """
    from sam3.model.decoder import TransformerDecoder

    original = TransformerDecoder._get_rpb_matrix

    def get_rpb_matrix(
        decoder: TransformerDecoder, reference_boxes: Tensor, feat_size: Any
    ) -> Tensor:
        if decoder.compilable_stored_size is None:
            raise ValueError("the decoder was built without a resolution and a stride")
        return original(decoder, reference_boxes, decoder.compilable_stored_size)

    with replaced(TransformerDecoder, "_get_rpb_matrix", get_rpb_matrix):
        yield


PATCH = Patch(
    name="static_box_attention",
    symptom="Could not guard on data-dependent expression Eq(u0, 1)",
    versions={"sam3": "0.1.4", "torch": "2.13.0"},
    upstream=None,
    apply=static_box_attention,
)
