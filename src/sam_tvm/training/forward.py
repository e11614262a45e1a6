"""The model's own calls, for several pictures with several prompts each.

Each function mirrors the call in ``Sam3Image`` that `sam_tvm.models.sam3.calls` also mirrors, and
differs from it in what training needs: which picture each prompt is about, the outputs of every
decoder layer, and the decoder's second set of queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image

LEVELS = 3  # of the neck; scalp=1 drops the fourth


@dataclass(frozen=True)
class Picture:
    """Image features: `levels` (B, d, h, w) from fine to coarse, `position` of the coarsest."""

    levels: tuple[Tensor, ...]
    position: Tensor


@dataclass(frozen=True)
class Predictions:
    """What N prompts are answered with, by every decoder layer.

    Attributes:
        logits: (layers, N, queries); after the first half of the queries, with the second set,
            come those that are matched to several objects' copies.
        boxes: (layers, N, queries, 4) cx, cy, w, h as fractions of the picture.
        presence: (layers, N), logits that there is anything to find.
        masks: (M, queries, 4 grid, 4 grid) logits of the first set, from the last layer.
        semantic: (M, 4 grid, 4 grid) logits of all that is asked for.
    """

    logits: Tensor
    boxes: Tensor
    presence: Tensor
    masks: Tensor
    semantic: Tensor


def tokenised(model: Sam3Image, texts: list[str]) -> Tensor:
    """Token ids (N, context) of the texts."""
    text = model.backbone.language_backbone
    return text.tokenizer(texts, context_length=text.context_length)


def encode_text(model: Sam3Image, token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Features (T, N, d) and mask (N, T), True where there is no token.

    T is the longest text's length here, not the context's: attention is causal, so what is cut
    off changes nothing.
    """
    text = model.backbone.language_backbone
    length = int((token_ids != 0).sum(1).max())
    _, tokens = text.encoder(token_ids[:, :length])
    return text.resizer(tokens.transpose(0, 1)), token_ids[:, :length] == 0


def encode_pictures(model: Sam3Image, pixels: Tensor) -> Picture:
    """Features of pictures (B, 3, S, S) of -1 to 1."""
    neck = model.backbone.vision_backbone
    trunk = neck.trunk(pixels)[-1]
    levels = tuple(conv(trunk) for conv in neck.convs[:LEVELS])
    return Picture(levels, neck.position_encoding(levels[-1]))


def coarsest_level(model: Sam3Image, pixels: Tensor) -> Tensor:
    """The coarsest level of `encode_pictures` alone."""
    neck = model.backbone.vision_backbone
    return neck.convs[LEVELS - 1](neck.trunk(pixels)[-1])


def ground(
    model: Sam3Image,
    picture: Picture,
    image_ids: Tensor,
    text: tuple[Tensor, Tensor],
    boxes: tuple[Tensor, Tensor, Tensor],
    both_sets: bool = False,
    masked: Tensor | None = None,
) -> Predictions:
    """Answer N prompts about B pictures.

    Args:
        model: the image model.
        picture: its features of the pictures.
        image_ids: (N,) int64, the picture of each prompt.
        text: features and mask of the prompts' texts.
        boxes: box prompts (n, N, 4), mask (N, n) that is True where there is none, and labels
            (n, N) int64, 1 for a positive box.
        both_sets: whether the decoder also runs its second set of queries, which does not
            attend to the other queries.
        masked: (M,) int64, the prompts that get masks, which cost most; None: all.
    """
    side = picture.levels[-1].shape[-1]
    features = _sequence(picture.levels[-1], image_ids)
    positions = _sequence(picture.position, image_ids)
    prompt, prompt_mask = _prompt(model, features, positions, side, text, boxes)
    memory = model.transformer.encoder(
        src=[features],
        src_key_padding_mask=None,
        src_pos=[positions],
        prompt=prompt,
        prompt_pos=torch.zeros_like(prompt),
        prompt_key_padding_mask=prompt_mask,
        feat_sizes=[(side, side)],
        encoder_extra_kwargs=None,
    )
    hidden, references, presence = _decode(model, memory, prompt, prompt_mask, both_sets)
    logits = model.dot_prod_scoring(hidden, prompt, prompt_mask).squeeze(-1)
    offsets = model.transformer.decoder.bbox_embed(hidden)
    coordinates = (torch.logit(references, eps=1e-3) + offsets).sigmoid()
    rows = torch.arange(len(image_ids)) if masked is None else masked
    queries = hidden[:, :, : hidden.shape[2] // 2] if both_sets else hidden
    head = model.segmentation_head(
        backbone_feats=list(picture.levels),
        obj_queries=queries[:, rows],
        image_ids=image_ids[rows],
        encoder_hidden_states=memory["memory"][:, rows],
        prompt=prompt[:, rows],
        prompt_mask=prompt_mask[rows],
    )
    masks, semantic = head["pred_masks"], head["semantic_seg"].squeeze(1)
    return Predictions(logits, coordinates, presence, masks, semantic)


def _sequence(level: Tensor, image_ids: Tensor) -> Tensor:
    """(B, d, h, w) as (h w, N, d), one column for each prompt."""
    return level.flatten(2).permute(2, 0, 1)[:, image_ids]


def _prompt(
    model: Sam3Image,
    features: Tensor,
    positions: Tensor,
    side: int,
    text: tuple[Tensor, Tensor],
    boxes: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    from sam3.model.geometry_encoders import Prompt

    coordinates, mask, labels = boxes
    geometry, geometry_mask = model.geometry_encoder(
        geo_prompt=Prompt(box_embeddings=coordinates, box_mask=mask, box_labels=labels),
        img_feats=[features],
        img_sizes=[(side, side)],
        img_pos_embeds=[positions],
    )
    return torch.cat([text[0], geometry]), torch.cat([text[1], geometry_mask], 1)


def _decode(
    model: Sam3Image,
    memory: dict[str, Tensor],
    prompt: Tensor,
    prompt_mask: Tensor,
    both_sets: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    decoder = model.transformer.decoder
    batch = prompt.shape[1]
    hidden, references, presence, _ = decoder(
        tgt=decoder.query_embed.weight.unsqueeze(1).repeat(1, batch, 1),
        memory=memory["memory"],
        memory_key_padding_mask=memory["padding_mask"],
        pos=memory["pos_embed"],
        reference_boxes=None,
        level_start_index=memory["level_start_index"],
        spatial_shapes=memory["spatial_shapes"],
        valid_ratios=memory["valid_ratios"],
        tgt_mask=None,
        memory_text=prompt,
        text_attention_mask=prompt_mask,
        apply_dac=both_sets,
    )
    # The presence token gives one logit for each layer and prompt.
    layers = hidden.shape[0]
    return hidden.transpose(1, 2), references.transpose(1, 2), presence.reshape(layers, batch)


def scores(predictions: Predictions) -> Tensor:
    """(N, queries): the product of score and presence, by the last layer, as the processor's."""
    return predictions.logits[-1].sigmoid() * predictions.presence[-1].sigmoid()[:, None]
