"""Evaluation of a module really in float64: the referee between two float32 results.

`module.double()` is not enough. It leaves complex buffers, tensors in plain attributes and cached
tables in single precision, and the modules themselves ask for float32 in places (`.float()`,
`dtype=torch.float32`). Here all of these become double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
NARROWING = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)
# Attributes in which sam3's modules keep tables computed in float32, and what they are before.
CACHES: dict[str, Callable[[], Any]] = {
    "cache": dict,  # PositionEmbeddingSine
    "coord_cache": dict,  # TransformerDecoder
    "compilable_cord_cache": lambda: None,  # TransformerDecoder
}


def to_float64(tree: Any) -> Any:
    """Return `tree` (tensors, tuples, lists, dicts) with floating and complex tensors widened."""
    return pytree.tree_map_only(torch.Tensor, _widen, tree)


@contextmanager
def float64_evaluation(module: nn.Module) -> Iterator[None]:
    """Compute everything within in float64; `to_float64` widens the inputs.

    The module is converted in place and stays float64, as its float32 caches are dropped; make a
    copy first if it is needed again. Parameters and buffers, persistent or not, keep their float32
    values: they are the data that all engines share. What a module cached from computation is
    computed anew in float64. Torch's default dtype is restored on exit.
    """
    _convert(module)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64Mode():
            yield
    finally:
        torch.set_default_dtype(default)


class _Float64Mode(TorchFunctionMode):
    """Reads every request for a narrower floating type as one for float64 (or complex128)."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in NARROWING:
            func = torch.Tensor.double
        args = tuple(_wider(value) for value in args)
        kwargs = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return func(*args, **kwargs)


def _wider(value: Any) -> Any:
    return WIDER.get(value, value) if isinstance(value, torch.dtype) else value


def _widen(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(WIDER.get(tensor.dtype, tensor.dtype))


def _convert(module: nn.Module) -> None:
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            parameter.data = _widen(parameter.data)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = _widen(buffer)
        for name, value in list(vars(part).items()):
            if name in CACHES:
                setattr(part, name, CACHES[name]())
            elif not name.startswith("_"):
                setattr(part, name, to_float64(value))
