"""How components compose into the functions of a model's end-to-end module.

A composed function is a list of steps over named tensors: calls of components and moves of data.
There is no arithmetic in a move; `sam_tvm.pipeline.compose` turns the steps into Relax.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.components.base import TensorSpec


@dataclass(frozen=True)
class Call:
    """Run a component on named tensors and name its outputs."""

    component: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Tokens:
    """A feature map (1, D, H, W) as a sequence (H*W, B, D), repeated for each of B prompts.

    ``Sam3Image._get_img_feats``: flatten(2).permute(2, 0, 1) after indexing with img_ids.
    """

    output: str
    input: str
    batch: str  # name of the dynamic axis B


@dataclass(frozen=True)
class Concat:
    """Join tensors along an axis."""

    output: str
    inputs: tuple[str, ...]
    axis: int


@dataclass(frozen=True)
class Last:
    """The last entry along axis 0 (the last decoder layer's)."""

    output: str
    input: str


Step = Call | Tokens | Concat | Last


@dataclass(frozen=True)
class ComposedFunction:
    """One public function of the end-to-end module."""

    name: str
    inputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
