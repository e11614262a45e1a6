"""Random weights of SAM3's image model.

Every floating-point entry of the state dict is drawn by `RULES`. The scales keep activations of
order 1 to 10 through all layers, attention away from saturation, and detections useful: scores
spread over the queries, masks neither empty nor full.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sam_tvm.models.random_values import Rule, Rules

if TYPE_CHECKING:
    from torch import nn

RULES = (
    # Norms and biases. The mask features are what a ReLU leaves of a norm; a negative shift keeps
    # their mean small, so that masks follow the picture rather than being all in or all out.
    Rule(r"pixel_decoder\.norms\.\d+\.bias$", std=0.05, mean=-0.75),
    Rule(r"(norm\w*|norms\.\d+|ln_\w+)\.weight$", std=0.1, mean=1.0),
    Rule(r"bias$", std=0.05),
    # Embeddings, relative to what they are added to.
    Rule(r"trunk\.pos_embed$|\.positional_embedding$", std=0.3),
    Rule(r"reference_points\.weight$", std=1.0),  # logits of the first boxes
    Rule(r"embed(ding)?\.weight$|presence_token\.weight$", std=1.0),
    # Decoder: what all queries read alike (memory, prompt, each other) adds up over the layers
    # until they are all the same; damped, every query keeps a score, box and mask of its own.
    Rule(r"decoder\.layers\.\d+\.cross_attn\.out_proj\.weight$", std=0.1, fan_in=True),
    Rule(r"decoder\.layers\.\d+\.(self_attn|ca_text)\.out_proj\.weight$", std=0.2, fan_in=True),
    Rule(r"decoder\.layers\.\d+\.linear2\.weight$", std=0.5, fan_in=True),
    Rule(r"boxRPB_embed_[xy]\.layers\.\d+\.weight$", std=2.0, fan_in=True),
    # Heads: boxes move a little in every layer, presence is near 1/2, scores spread widely.
    Rule(r"\.bbox_embed\.layers\.2\.weight$", std=0.3, fan_in=True),
    Rule(r"presence_token_head\.layers\.2\.weight$", std=0.5, fan_in=True),
    Rule(r"hs_proj\.weight$", std=2.0, fan_in=True),
    # All other weights are linear maps that keep the size of what they map.
    Rule(r"(weight|text_projection)$", std=1.0, fan_in=True),
)
# Transposed convolutions and bare matrices store the inputs first; kernel and stride are equal, so
# an output sees one tap of the kernel.
INPUTS_FIRST = re.compile(r"dconv_2x2\w*\.weight$|text_projection$")
_RULES = Rules(RULES, INPUTS_FIRST)


def rule_for(key: str) -> Rule:
    """Return the rule that draws the entry `key`; raise `KeyError` if none does."""
    return _RULES.rule_for(key)


def fill_random(model: nn.Module, seed: int) -> None:
    """Overwrite every floating-point entry of the model's state dict, in place.

    Complex entries (`freqs_cis`, computed by the constructor) and integer ones are left alone.
    """
    _RULES.fill(model, seed)


def rules_digest() -> str:
    """Return a short hash that changes when the rules do, for cache keys."""
    return _RULES.digest()
