"""Box encoding whose batch stays symbolic.

`SequenceGeometryEncoder._encode_boxes` gives roi_align a list with the boxes of each image, and
such a list has a length that tracing fixes. roi_align also takes one table of boxes with the
index of the image, which is what it makes of the list.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from sam3.model.geometry_encoders import SequenceGeometryEncoder
    from torch import nn


def encode_boxes(
    encoder: SequenceGeometryEncoder,
    boxes: Tensor,
    boxes_mask: Tensor,
    boxes_labels: Tensor,
    img_feats: Tensor,
) -> tuple[Tensor, Tensor]:
    """Embed `boxes` (m, B, 4), cxcywh in [0,1], of images with features (B, D, H, W).

    `boxes_labels` is (m, B). Returns the embeddings (m, B, D), the sum of the encodings that the
    encoder was built with and of the labels', and `boxes_mask` as it came.
    """
    encodings = []
    if encoder.boxes_direct_project is not None:
        encodings.append(encoder.boxes_direct_project(boxes))
    if encoder.boxes_pool_project is not None:
        encodings.append(_pooled(encoder, boxes, img_feats))
    if encoder.boxes_pos_enc_project is not None:
        sides = [side.flatten() for side in boxes.unbind(-1)]
        positions = encoder.pos_enc.encode_boxes(*sides).unflatten(0, boxes.shape[:2])
        encodings.append(encoder.boxes_pos_enc_project(positions))
    labels = encoder.label_embed(boxes_labels.long())
    return labels + functools.reduce(operator.add, encodings), boxes_mask


def _pooled(encoder: SequenceGeometryEncoder, boxes: Tensor, img_feats: Tensor) -> Tensor:
    """Return what the boxes cover of the features, projected: (m, B, D)."""
    from sam3.model.box_ops import box_cxcywh_to_xyxy
    from torchvision.ops import roi_align

    count, batch = boxes.shape[:2]
    height, width = img_feats.shape[-2:]
    scale = boxes.new_tensor([width, height, width, height])
    corners = box_cxcywh_to_xyxy(boxes) * scale
    image = torch.arange(batch, dtype=boxes.dtype)[:, None, None].expand(batch, count, 1)
    rois = torch.cat([image, corners.transpose(0, 1)], dim=2).flatten(0, 1)
    pooled = roi_align(img_feats, rois, encoder.roi_size)
    projected = encoder.boxes_pool_project(pooled)  # (B*m, D, 1, 1)
    return projected.view(batch, count, encoder.d_model).transpose(0, 1)


@contextmanager
def batched_boxes(model: nn.Module) -> Iterator[None]:
    """Replace the geometry encoder's box encoding."""
    from sam3.model.geometry_encoders import SequenceGeometryEncoder

    with replaced(SequenceGeometryEncoder, "_encode_boxes", encode_boxes):
        yield


PATCH = Patch(
    name="batched_boxes",
    symptom="You marked B as dynamic but your code specialized it to be a constant (2).",
    versions={"sam3": "0.1.4", "torch": "2.13.0"},
    upstream=None,
    apply=batched_boxes,
)
