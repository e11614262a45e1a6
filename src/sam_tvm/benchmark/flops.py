"""Counting a component's floating-point operations, once for all engines.

Counted are the contractions of the unpatched reference: matrix products, convolutions, attention
(masks do not make it cheaper). Element-wise work, norms and softmax are not, so that a share of
the machine's peak is never flattered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_tvm.benchmark.process import Phase
from sam_tvm.benchmark.workload import Request


def attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Scores and their product with the values, from shapes (..., heads, length, width)."""
    *batch, queries, width = query
    keys, value_width = value[-2:]
    count = int(np.prod(batch))
    return 2 * count * queries * keys * (width + value_width)


def gathered_flops(
    x: Any, table: Any, weight: Any, bias: Any, columns: Any, *_: Any, **__: Any
) -> int:
    """Products of a `gathered_product` with rows that are there; the arguments are tensors."""
    present = sum(int((table[:, own] > 0).sum()) for own in columns.long())
    return 2 * present * weight.shape[2] * weight.shape[3]


def windowed_flops(qkv: Any, windows: Any, *_: Any, **__: Any) -> int:
    """Scores and their product with the values inside each window; the arguments are tensors."""
    lengths = (windows > 0).sum(1)
    return 4 * int((lengths * lengths).sum()) * qkv.shape[2] * qkv.shape[3]


gathered_flops._get_raw = windowed_flops._get_raw = True  # torch's way to ask for tensors


def count(function: Callable[[], Any]) -> int:
    """Floating-point operations of a call of PyTorch functions on the CPU."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sam_tvm.patches import gathered_product, windowed_attention

    # torch's table lacks the CPU's attention. The fused encoder layer is one operator, inside of
    # which nothing can be counted.
    mapping = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}
    gathered_product.declare()
    windowed_attention.declare()
    mapping[torch.ops.sam_tvm.gathered_product] = gathered_flops
    mapping[torch.ops.sam_tvm.windowed_attention] = windowed_flops
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            function()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops()


@dataclass(frozen=True)
class CountFlops:
    """Count the operations of components on their inputs.

    Attributes:
        requests: one for each component; the engine is PyTorch.
    """

    requests: tuple[Request, ...]

    def run(self, phase: Phase) -> dict[str, int]:
        """Operations by component."""
        import torch

        from sam_tvm.benchmark.torch_engine import model_of
        from sam_tvm.patches.environment import reference_environment

        counts = {}
        models = [model_of(request) for request in self.requests]
        with reference_environment(*models), torch.inference_mode():
            for request in self.requests:
                phase(f"counting {request.name}")
                torch.set_num_threads(request.threads)
                counts[request.name] = self._count(request)
        return counts

    def _count(self, request: Request) -> int:
        import torch

        from sam_tvm import components
        from sam_tvm.benchmark.torch_engine import component_function, load_request

        (component,) = components.select([request.name])
        function = component_function(component, load_request(request))
        tensors = [torch.from_numpy(array) for array in request.arrays()]
        return count(lambda: function(*tensors))
