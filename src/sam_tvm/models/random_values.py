"""Seeded random weights that make every part of a model matter, drawn by rules.

The constructors' own initialisation will not do for verification: zero biases, unit norms, zero
last layers and constant embeddings would leave half of a network untested, and some parameters
are uninitialised memory. Here every floating-point entry of the state dict is drawn anew.

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

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Rule:
    """Normally distributed values for the state-dict keys in which `pattern` is found."""

    pattern: str  # a regular expression; of several rules that match a key the first applies
    std: float
    mean: float = 0.0
    fan_in: bool = False  # divide std by the square root of the number of inputs per output


@dataclass(frozen=True)
class Rules:
    """A model's rules.

    Attributes:
        rules: in order of precedence.
        inputs_first: finds the keys of linear maps that store their inputs along axis 0.
        parameters_only: leave alone what is no parameter: the model computes its buffers.
    """

    rules: tuple[Rule, ...]
    inputs_first: re.Pattern[str] | None = None
    parameters_only: bool = False

    def rule_for(self, key: str) -> Rule:
        """Return the rule that draws the entry `key`; raise `KeyError` if none does."""
        for rule in self.rules:
            if re.search(rule.pattern, key):
                return rule
        raise KeyError(f"no rule for the random values of {key}")

    def fill(self, model: nn.Module, seed: int) -> None:
        """Overwrite the floating-point entries of the model's state dict, in place.

        Complex entries (computed by a constructor) and integer ones are left alone.
        """
        entries = [item for item in model.state_dict().items() if item[1].is_floating_point()]
        if self.parameters_only:
            parameters = {name for name, _ in model.named_parameters()}
            entries = [item for item in entries if item[0] in parameters]
        # NumPy releases the interpreter lock while it draws.
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda item: self._fill(item[0], item[1], seed), entries))

    def _fill(self, key: str, tensor: torch.Tensor, seed: int) -> None:
        rule = self.rule_for(key)
        values = tensor.detach().numpy()  # shares memory
        std = rule.std / math.sqrt(self._fan_in(key, tensor)) if rule.fan_in else rule.std
        _generator(key, seed).standard_normal(dtype=values.dtype, out=values)
        values *= std
        values += rule.mean

    def _fan_in(self, key: str, tensor: torch.Tensor) -> int:
        """Return how many inputs one output of the linear map sums over."""
        if self.inputs_first is not None and self.inputs_first.search(key):
            return tensor.shape[0]
        return tensor[0].numel()

    def digest(self) -> str:
        """Return a short hash that changes when the rules do, for cache keys."""
        inputs_first = self.inputs_first.pattern if self.inputs_first is not None else None
        text = repr((self.rules, inputs_first, self.parameters_only))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _generator(key: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "little")))
