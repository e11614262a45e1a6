"""Muon for the matrices inside the network, AdamW for the rest.

Muon (Keller Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024) steps along
the orthogonalised momentum of a matrix; matrices of one shape are orthogonalised together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic Newton-Schulz iteration, as published
ITERATIONS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values of (N, m, n) near 1."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, as the step of parameters of two axes or more.

    Convolutions' kernels are matrices of output channels by everything else. A step is scaled by
    0.2 sqrt(max(m, n)), so that its size is that of AdamW's (Liu et al., "Muon is Scalable for
    LLM Training", 2025), and the two can share a learning rate.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault((p.shape[0], p.numel() // p.shape[0]), []).append(p)
            for shape, params in shapes.items():
                self._step_together(params, shape, group)

    def _step_together(
        self, params: list[nn.Parameter], shape: tuple[int, int], group: dict[str, float]
    ) -> None:
        momentum, lr = group["momentum"], group["lr"]
        directions = []
        for p in params:
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            buffer.lerp_(p.grad, 1 - momentum)
            directions.append(p.grad.lerp(buffer, momentum).reshape(shape))  # Nesterov's
        scale = 0.2 * math.sqrt(max(shape))
        for p, step in zip(params, orthogonalised(torch.stack(directions)), strict=True):
            p.mul_(1 - lr * group["weight_decay"])
            p.add_(step.reshape(p.shape), alpha=-lr * scale)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon is to step it: no vector, embedding, position, or first layer on the pixels."""
    return parameter.ndim >= 2 and not any(
        part in name
        for part in (
            "embedding",
            "pos_embed",
            "query_embed",
            "patch_embed",
            "reference_points",
            "presence_token.",
            "label_embed",
        )
    )


def make_optimisers(
    named: Iterable[tuple[str, nn.Parameter]], lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon and AdamW over the named parameters, each decaying its matrices."""
    trained = [(name, p) for name, p in named if p.requires_grad]
    hidden = [p for name, p in trained if is_hidden_matrix(name, p)]
    rest = [p for name, p in trained if not is_hidden_matrix(name, p)]
    return [
        Muon(hidden, lr=lr, weight_decay=weight_decay),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
