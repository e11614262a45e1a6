"""Random weights of SAM-3D-Objects' networks.

Every parameter is drawn by `RULES`; tables that a network computes (sine positions, the offsets
of the Gaussians) are left alone. The scales keep activations of order 1 to 10 through all blocks,
attention away from saturation, and the occupancy of the decoded structure that of a surface: a
few of a hundred voxels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam_tvm.models.random_values import Rule, Rules

if TYPE_CHECKING:
    from torch import nn

RULES = (
    # Norms. In sequences of layers they go by their place: before what they activate.
    Rule(r"norm\d?(\.\w+)?\.weight$|rms_norm.*\.gamma$", std=0.1, mean=1.0),
    Rule(r"projection_nets\.\d+\.0\.weight$|act_layers\.0\.weight$", std=0.1, mean=1.0),
    Rule(r"out_layers\.1\.weight$|ss_decoder\.out_layer\.0\.weight$", std=0.1, mean=1.0),
    # DINOv2's scales of what each layer adds.
    Rule(r"\.ls[12]\.gamma$", std=0.1, mean=0.3),
    # The logits' threshold: far enough below their mean that few voxels are occupied.
    Rule(r"ss_decoder\.out_layer\.2\.bias$", std=0.05, mean=-1.0),
    Rule(r"bias$", std=0.05),
    # Embeddings, relative to what they are added to.
    Rule(r"pos_emb\w*$|idx_emb$", std=0.3),
    Rule(r"(cls_token|mask_token|register_tokens|invalid_xyz_token)$", std=1.0),
    # All other weights are linear maps that keep the size of what they map.
    Rule(r"weight$", std=1.0, fan_in=True),
)
_RULES = Rules(RULES, parameters_only=True)


def rule_for(key: str) -> Rule:
    """Return the rule that draws the entry `key`; raise `KeyError` if none does."""
    return _RULES.rule_for(key)


def fill_random(model: nn.Module, seed: int) -> None:
    """Overwrite every parameter of `model`, in place.

    Values depend on the names in the model: that of the component comes first, as the two
    Gaussian decoders' are alike.
    """
    _RULES.fill(model, seed)


def rules_digest() -> str:
    """Return a short hash that changes when the rules do, for cache keys."""
    return _RULES.digest()
