"""Our operator for sparse convolutions through the importer."""

import re

import numpy as np
import pytest
import torch
from patch_support import build, export
from torch import nn

from sam_tvm.kernels import gathered
from sam_tvm.patches import gathered_product
from sam_tvm.patches.importer.gathered_product import PATCH

gathered_product.declare()


class Product(nn.Module):
    """With weights of its own, on tables of three columns."""

    def __init__(self, groups, weights, start):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(weights, 2, 6, 5, generator=generator))
        self.bias = nn.Parameter(torch.randn(5, generator=generator))
        self.columns = torch.tensor([[0, 2], [1, 1], [2, 0], [1, 0]][:groups], dtype=torch.int32)
        self.offsets = self.columns % (groups // weights)
        self.start = start

    def forward(self, x, table, start):
        first = start if self.start else None
        return torch.ops.sam_tvm.gathered_product(
            x, table, self.weight, self.bias, self.columns, self.offsets, first
        )


def inputs(entries, step):
    generator = torch.Generator().manual_seed(entries)
    table = torch.randint(0, entries + 1, (entries, 3), generator=generator, dtype=torch.int32)
    x = torch.randn(entries * step, 6, generator=generator)
    return x, table, torch.randn(entries, 5, generator=generator)


@pytest.mark.parametrize(("groups", "weights"), [(1, 1), (4, 4), (4, 1)])
@pytest.mark.parametrize("start", [False, True])
def test_one_library_equals_the_operator(groups, weights, start):
    module, step = Product(groups, weights, start), groups // weights
    sizes = ({0: "m"}, {0: "n"}, {0: "n"}) if step > 1 else ({0: "n"},) * 3
    program = export(module, *inputs(7, step), sizes=sizes)
    run = build(program, PATCH.apply, gathered.decompose())
    for entries in (7, 1, 30):
        with torch.no_grad():
            expected = module(*inputs(entries, step))
        np.testing.assert_allclose(run(*inputs(entries, step))[0], expected, rtol=1e-5, atol=1e-5)


def test_tvm_lacks_it_without_the_patch():
    program = export(Product(1, 1, False), *inputs(7, 1))
    with pytest.raises(AssertionError, match=re.escape(PATCH.symptom)):
        build(program)
