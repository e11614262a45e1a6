"""Operators as PyTorch knows them: a schema, a kernel for the CPU, and the shape of the result."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def define(
    namespace: str, schema: str, kernel: Callable[..., Tensor], shape: Callable[..., Tensor]
) -> torch.library.Library:
    """Define an operator.

    Args:
        namespace: the name before the colons.
        schema: as `torch.library` reads it, the operator's name first.
        kernel: computes the result on a CPU.
        shape: returns an empty tensor like the result, from arguments without values.

    Returns:
        What the operator lives as long as: exported programs refer to it, so keep it.
    """
    name = schema.partition("(")[0]
    library = torch.library.Library(namespace, "FRAGMENT")
    library.define(schema)
    library.impl(name, kernel, "CPU")
    library.impl(name, shape, "Meta")
    return library
