"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """A moving average of parameters, which follows faster while it is young."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.updates = parameters, decay, 0
        self.values = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the parameters' values."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 20))
        parameters = [p.detach() for p in self.parameters.values()]
        torch._foreach_lerp_(list(self.values.values()), parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the average's values for a while."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._copy(self.values)
        try:
            yield
        finally:
            self._copy(own)

    def adopt(self) -> None:
        """Let the parameters go on from the average, and the average begin anew."""
        self._copy(self.values)
        self.updates = 0

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, object]:
        """What `load` takes."""
        return {"values": self.values, "updates": self.updates}

    def load(self, state: dict[str, object]) -> None:
        """Go on from an earlier `state`."""
        self.updates = int(state["updates"])
        for name, value in self.values.items():
            value.copy_(state["values"][name])
