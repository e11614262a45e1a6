"""Constructors of `sam3` that name the device "cuda" build on the CPU where there is no GPU.

`PositionEmbeddingSine` fills a cache and `TransformerDecoder` its coordinates there; both are used
on whatever device the inputs are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sam_tvm.patches.attributes import replaced
from sam_tvm.patches.patch import Patch


class _CudaMeansCpu(TorchFunctionMode):
    """Every `device="cuda"` given to a torch function becomes "cpu", `Tensor.cuda` does nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.cuda:
            return args[0]
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == "cuda":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def on_cpu(constructor: Callable[..., None]) -> Callable[..., None]:
    """Return `constructor` with every CUDA device that it names read as the CPU."""

    @functools.wraps(constructor)
    def build(*args: Any, **kwargs: Any) -> None:
        with _CudaMeansCpu():
            constructor(*args, **kwargs)

    return build


@contextmanager
def cuda_constructors() -> Iterator[None]:
    """Redirect the two constructors, unless there is a GPU; imports `sam3`."""
    from sam3.model.decoder import TransformerDecoder
    from sam3.model.position_encoding import PositionEmbeddingSine

    with ExitStack() as stack:
        if not torch.cuda.is_available():
            for module in (PositionEmbeddingSine, TransformerDecoder):
                stack.enter_context(replaced(module, "__init__", on_cpu(module.__init__)))
        yield


PATCH = Patch(
    name="cuda_constructors",
    symptom="Torch not compiled with CUDA enabled",
    versions={"sam3": "0.1.4", "torch": "2.13.0+cpu"},
    upstream="https://github.com/facebookresearch/sam3/issues/587",
    apply=cuda_constructors,
)
