"""Seeded random weights that make every part of SAM3's image model matter.

The constructors' own initialisation will not do for verification: zero biases, unit norms, zero
last layers of heads and constant embeddings would leave half of the network untested, and two
parameters are uninitialised memory. Here every floating-point entry of the state dict is drawn
anew, from `RULES`. The scales keep activations of order 1 to 10 through all layers, attention
away from saturation, and detections useful: scores spread over the queries, masks neither empty
nor full.

A tensor's values depend on the seed, its key and its shape alone. NumPy's generator is used since
its stream, unlike torch's, does not depend on the processor's vector width.
"""

from __future__ import annotations

import hashlib
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Rule:
    """Normally distributed values for the state-dict keys in which `pattern` is found."""

    pattern: str  # a regular expression; of several rules that match a key the first applies
    std: float
    mean: float = 0.0
    fan_in: bool = False  # divide std by the square root of the number of inputs per output


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


def rule_for(key: str) -> Rule:
    """Return the rule that draws the entry `key`; raise `KeyError` if none does."""
    for rule in RULES:
        if re.search(rule.pattern, key):
            return rule
    raise KeyError(f"no rule for the random values of {key}")


def fill_random(model: nn.Module, seed: int) -> None:
    """Overwrite every floating-point entry of the model's state dict, in place.

    Complex entries (`freqs_cis`, computed by the constructor) and integer ones are left alone.
    """
    entries = [item for item in model.state_dict().items() if item[1].is_floating_point()]
    # NumPy releases the interpreter lock while it draws.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda item: _fill(item[0], item[1], seed), entries))


def _fill(key: str, tensor: torch.Tensor, seed: int) -> None:
    rule = rule_for(key)
    values = tensor.detach().numpy()  # shares memory
    std = rule.std / math.sqrt(_fan_in(key, tensor)) if rule.fan_in else rule.std
    _generator(key, seed).standard_normal(dtype=values.dtype, out=values)
    values *= std
    values += rule.mean


def _fan_in(key: str, tensor: torch.Tensor) -> int:
    """Return how many inputs one output of the linear map sums over."""
    if INPUTS_FIRST.search(key):
        return tensor.shape[0]
    return tensor[0].numel()


def _generator(key: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))


def rules_digest() -> str:
    """Return a short hash that changes when the rules do, for cache keys."""
    return hashlib.sha256(repr((RULES, INPUTS_FIRST.pattern)).encode()).hexdigest()[:16]
