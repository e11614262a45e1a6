"""`select.int` with indices from the end."""

import numpy as np
import torch
from patch_support import build, export
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.patches.importer.select import PATCH


def _select(x):
    return x[-1], x[:, -2], x[..., 0]


def test_indices_count_from_the_end_of_static_and_symbolic_axes():
    run = build(export(_select, torch.randn(3, 4, 5), sizes=({0: "n"},)), PATCH.apply)
    for length in (3, 1, 6):
        x = torch.randn(length, 4, 5)
        for actual, expected in zip(run(x), _select(x), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_tvm_takes_the_negative_index_as_it_is_without_the_patch():
    # To run it would read memory outside the tensor.
    program = export(lambda x: x[-1], torch.randn(3, 4))
    text = from_exported_program(program).script(show_meta=False)
    assert "R.take(" in text
    assert 'R.const(-1, "int64")' in text
