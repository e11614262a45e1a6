"""Repetition by numbers that are known when the library runs."""

import re

import numpy as np
import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer.repeat import PATCH


def _repeats(x, y):
    n = y.shape[0]
    return (
        x.repeat(1, n, 1),
        x.repeat(n, 2, 1),
        x.repeat(n, 1, 1, 3),
        x.repeat(2, 1, 3),
        y.repeat(2, n),
        y.repeat(3),
    )


def test_one_library_repeats_any_number_of_times():
    x = torch.rand(3, 2, 4)
    run = build(export(_repeats, x, torch.rand(2), sizes=({}, {0: "n"})), PATCH.apply)
    for count in (1, 5):
        y = torch.rand(count)
        for actual, expected in zip(run(x, y), _repeats(x, y), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_tvm_refuses_a_symbolic_number_without_the_patch():
    def repeat(x, y):
        return x.repeat(1, y.shape[0])

    program = export(repeat, torch.rand(3, 1), torch.rand(2), sizes=({}, {0: "n"}))
    with pytest.raises(TypeError, match=re.escape(PATCH.symptom)):
        build(program)
