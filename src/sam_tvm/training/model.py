"""The image model made ready to train: where its parameters start, and its vocabulary.

The model stays in evaluation mode: that turns dropout and activation checkpointing off and leaves
every computation that is trained as it is when the model is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3.build import compose_model
from sam_tvm.scenes.vocabulary import known_words

if TYPE_CHECKING:
    from sam3.model.sam3_image import Sam3Image

EMBEDDING = "backbone.language_backbone.encoder.token_embedding.weight"
BOX_SIDE = 0.2  # of the decoder's first reference boxes, as a fraction of the picture
# How steeply the decoder's attention falls outside its reference box, at first, by head.
ATTENTION_FALLS = (14.0, 9.0, 5.0, 2.0)


class KnownTokens(nn.Module):
    """The text embedding with rows of their own for the known tokens, and one for all others.

    Stands in for the embedding of the whole vocabulary while it is trained: a row without a
    gradient would stay noise, and most of the optimiser's work would go into such rows.
    """

    def __init__(self, known: list[int], vocab_size: int, width: int) -> None:
        super().__init__()
        rows = torch.full((vocab_size,), len(known))
        rows[torch.tensor(known)] = torch.arange(len(known))
        self.register_buffer("rows", rows, persistent=False)
        self.weight = nn.Parameter(torch.randn(len(known) + 1, width) * 0.1)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Embed token ids of any shape."""
        return F.embedding(self.rows[token_ids], self.weight)

    def whole(self) -> Tensor:
        """The embedding of the whole vocabulary, (vocab_size, width)."""
        return self.weight.detach()[self.rows]


def trainable_model(config: Sam3Config, seed: int) -> Sam3Image:
    """Build the model with the values that training starts from.

    The caller holds `reference_environment()`.
    """
    torch.manual_seed(seed)
    model = compose_model(config).eval()
    _start_vision(model, config)
    _start_text(model, config)
    _start_decoder(model, config)
    model.segmentation_head.act_ckpt = False  # in evaluation mode too it would compute all twice
    return model


def _start_vision(model: Sam3Image, config: Sam3Config) -> None:
    from sam3.model.position_encoding import PositionEmbeddingSine

    trunk = model.backbone.vision_backbone.trunk
    for block in trunk.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            nn.init.xavier_uniform_(layer.weight)  # 0.02 is too small for a narrow network
    side = math.isqrt(trunk.pos_embed.shape[1] - 1)
    sine = PositionEmbeddingSine(config.vision_width, normalize=True, temperature=50)
    positions = sine(torch.zeros(1, 1, side, side)).flatten(2).transpose(1, 2)
    trunk.pos_embed.data[:, 1:] = 0.3 * positions


def _start_text(model: Sam3Image, config: Sam3Config) -> None:
    text = model.backbone.language_backbone
    known = {token for word in known_words() for token in text.tokenizer([word])[0].tolist()}
    encoder = text.encoder
    encoder.token_embedding = KnownTokens(sorted(known), config.vocab_size, config.text_width)
    nn.init.normal_(encoder.positional_embedding, std=0.01)
    # Of a pooled output that SAM3 does not use.
    nn.init.normal_(encoder.text_projection, std=config.text_width**-0.5)
    encoder.text_projection.requires_grad_(False)


def _start_decoder(model: Sam3Image, config: Sam3Config) -> None:
    """A grid of reference boxes, and attention that stays within them.

    With both random, every query sees about the same mean of the picture, and the loss of the
    boxes rests on a plateau.
    """
    decoder = model.transformer.decoder
    columns = math.ceil(math.sqrt(config.num_queries))
    lines = math.ceil(config.num_queries / columns)
    index = torch.arange(config.num_queries)
    x, y = (index % columns + 0.5) / columns, (index // columns + 0.5) / lines
    boxes = torch.stack([x, y, torch.full_like(x, BOX_SIDE), torch.full_like(x, BOX_SIDE)], 1)
    decoder.reference_points.weight.data = torch.logit(boxes)
    nn.init.zeros_(decoder.bbox_embed.layers[-1].weight)
    nn.init.zeros_(decoder.bbox_embed.layers[-1].bias)
    falls = torch.tensor(ATTENTION_FALLS).repeat(config.heads)[: config.heads]
    for bias in (decoder.boxRPB_embed_x, decoder.boxRPB_embed_y):
        first, last = bias.layers
        # The inputs are a token's offsets from the box's two edges: the first two hidden units
        # say how far it lies outside, before one and behind the other.
        first.weight.data[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
        first.bias.data[:2] = 0
        last.weight.data.mul_(0.3)[:, :2] = -falls[:, None]


def exported_state(model: Sam3Image) -> dict[str, Tensor]:
    """The state dict that fits the untouched model: with the whole text embedding.

    The rotary frequencies, which the model computes, are left out.
    """
    state = {k: v.detach() for k, v in model.state_dict().items() if not k.endswith("freqs_cis")}
    state[EMBEDDING] = model.backbone.language_backbone.encoder.token_embedding.whole()
    return state
