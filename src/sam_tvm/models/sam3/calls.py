"""How `sam3` calls its own modules, as functions of (model, tensors).

Each mirrors the call in ``Sam3Image`` (or ``SAM3VLBackbone``) with that caller's arguments: shapes
into lists, tensors into a ``Prompt``, outputs out of dictionaries. There is no arithmetic here, so
the reference process runs these on the unpatched model and the export runs them on the same
modules under the model patches.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


def _side(sequence: Tensor) -> int:
    """Side of the square grid whose tokens lie along axis 0."""
    return math.isqrt(sequence.shape[0])


def vision_backbone(model: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
    """``SAM3VLBackbone._forward_image_no_act_ckpt``, before scalp drops the coarsest level."""
    features, positions, _, _ = model.backbone.vision_backbone(pixels)
    return (*features, *positions)


def text_encoder(model: nn.Module, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """``VETextEncoder.forward`` on token ids, through a tokenizer that returns them."""
    encoder = model.backbone.language_backbone
    tokenizer = encoder.tokenizer
    encoder.tokenizer = lambda text, context_length: token_ids
    try:
        mask, features, _ = encoder([""], device=token_ids.device)
    finally:
        encoder.tokenizer = tokenizer
    return features, mask


def geometry_encoder(
    model: nn.Module,
    points: Tensor,
    points_mask: Tensor,
    points_labels: Tensor,
    boxes: Tensor,
    boxes_mask: Tensor,
    boxes_labels: Tensor,
    img_feats: Tensor,
    img_pos: Tensor,
) -> tuple[Tensor, Tensor]:
    """``Sam3Image._encode_prompt``'s call of the geometry encoder."""
    from sam3.model.geometry_encoders import Prompt

    prompt = Prompt(
        box_embeddings=boxes,
        box_mask=boxes_mask,
        box_labels=boxes_labels,
        point_embeddings=points,
        point_mask=points_mask,
        point_labels=points_labels,
    )
    side = _side(img_feats)
    return model.geometry_encoder(
        geo_prompt=prompt,
        img_feats=[img_feats],
        img_sizes=[(side, side)],
        img_pos_embeds=[img_pos],
    )


def transformer_encoder(
    model: nn.Module, src: Tensor, pos: Tensor, prompt: Tensor, prompt_mask: Tensor
) -> tuple[Tensor]:
    """``Sam3Image._run_encoder``'s call of the fusion encoder."""
    side = _side(src)
    memory = model.transformer.encoder(
        src=[src],
        src_key_padding_mask=None,
        src_pos=[pos],
        prompt=prompt,
        prompt_pos=prompt.new_zeros(prompt.shape),
        prompt_key_padding_mask=prompt_mask,
        feat_sizes=[(side, side)],
        encoder_extra_kwargs=None,
    )
    return (memory["memory"],)


def transformer_decoder(
    model: nn.Module, memory: Tensor, pos: Tensor, prompt: Tensor, prompt_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``Sam3Image._run_decoder``'s call of the decoder, outputs batch first as it makes them."""
    decoder = model.transformer.decoder
    side, batch = _side(memory), memory.shape[1]
    hs, reference_boxes, presence_logits, _ = decoder(
        tgt=decoder.query_embed.weight.unsqueeze(1).repeat(1, batch, 1),
        memory=memory,
        memory_key_padding_mask=None,
        pos=pos,
        reference_boxes=None,
        level_start_index=prompt_mask.new_zeros((1,), dtype=int),
        spatial_shapes=prompt_mask.new_tensor([[side, side]], dtype=int),
        valid_ratios=memory.new_ones((batch, 1, 2)),
        tgt_mask=None,
        memory_text=prompt,
        text_attention_mask=prompt_mask,
        apply_dac=False,
    )
    return hs.transpose(1, 2), reference_boxes.transpose(1, 2), presence_logits.transpose(1, 2)


def segmentation_head(
    model: nn.Module,
    fpn_0: Tensor,
    fpn_1: Tensor,
    fpn_2: Tensor,
    hs: Tensor,
    memory: Tensor,
    prompt: Tensor,
    prompt_mask: Tensor,
) -> tuple[Tensor, Tensor]:
    """``Sam3Image._run_segmentation_heads``'s call; one image serves every prompt."""
    outputs = model.segmentation_head(
        backbone_feats=[fpn_0, fpn_1, fpn_2],
        obj_queries=hs,
        image_ids=prompt_mask.new_zeros((memory.shape[1],), dtype=int),
        encoder_hidden_states=memory,
        prompt=prompt,
        prompt_mask=prompt_mask,
    )
    return outputs["pred_masks"], outputs["semantic_seg"]


def scoring_head(
    model: nn.Module, hs: Tensor, reference_boxes: Tensor, prompt: Tensor, prompt_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """``Sam3Image._update_scores_and_boxes``."""
    out: dict[str, Tensor] = {}
    model._update_scores_and_boxes(out, hs, reference_boxes, prompt, prompt_mask)
    return out["pred_logits"], out["pred_boxes"]
