"""Building modules of the references without the values that they start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class SkipRandomValues(TorchFunctionMode):
    """Leaves out the constructors' random values: at full size they take most of the time.

    The parameters are uninitialised memory: load weights before using the module.
    """

    SKIPPED = (torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.erfinv_)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in self.SKIPPED:
            return args[0]
        return func(*args, **(kwargs or {}))
