"""Rotary position embedding in real arithmetic.

`vitdet.apply_rotary_enc` multiplies complex numbers, which TVM has no type for. Here a complex
number is a pair of real ones: (a + bi)(c + di) = (ac - bd) + (ad + bc)i.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch

if TYPE_CHECKING:
    from torch import nn


def apply_rotary_enc(
    xq: Tensor, xk: Tensor, freqs_cis: Tensor, repeat_freqs_k: bool = False
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys (B, heads, L, D) by `freqs_cis` (L, D/2, 2), pairs (cos, sin).

    Neighbouring channels form a complex number. `repeat_freqs_k`, for keys longer than the
    queries, is the video tracker's and not supported.
    """
    if repeat_freqs_k:
        raise NotImplementedError("repeat_freqs_k is not used by SAM3's image model")
    cos, sin = freqs_cis.unbind(-1)
    return _rotate(xq, cos, sin), _rotate(xk, cos, sin)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = (real * cos - imaginary * sin, real * sin + imaginary * cos)
    return torch.stack(pairs, dim=-1).flatten(-2)


@contextmanager
def real_rope(model: nn.Module) -> Iterator[None]:
    """Rotate with real arithmetic, and present every `freqs_cis` of `model` as real pairs.

    The buffers keep their names and gain a last axis of length 2; on exit they are the complex
    tensors they were.
    """
    from sam3.model import vitdet

    rotary = [
        module
        for module in model.modules()
        if isinstance(module, vitdet.Attention) and module.freqs_cis is not None
    ]
    complex_freqs = [module.freqs_cis for module in rotary]
    try:
        for module, freqs_cis in zip(rotary, complex_freqs, strict=True):
            module.freqs_cis = torch.view_as_real(freqs_cis).contiguous()
        with replaced(vitdet, "apply_rotary_enc", apply_rotary_enc):
            yield
    finally:
        for module, freqs_cis in zip(rotary, complex_freqs, strict=True):
            module.freqs_cis = freqs_cis


PATCH = Patch(
    name="real_rope",
    symptom="input_type torch.complex64 is not handled yet",
    versions={"sam3": "0.1.4", "apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply=real_rope,
)
