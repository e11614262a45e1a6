"""What TVM 0.27 gets wrong or lacks and SAM3 does not meet: a pass here would be welcome news."""

import numpy as np
import pytest
import torch
from patch_support import build, export, naive_roi_align
from torch.nn import functional as F
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.patches.environment import declare_operators
from sam_tvm.patches.importer import converters, unsupported_operators


def test_aligned_roi_align_is_wrong():
    declare_operators()

    def pool(images, rois):
        return torch.ops.torchvision.roi_align(images, rois, 0.5, 7, 5, -1, True)

    images, rois = torch.randn(1, 3, 12, 10), torch.tensor([[0, 2.0, 4, 14, 18]])
    program = export(pool, images, rois)
    error = build(program)(images, rois)[0] - naive_roi_align(images, rois, 0.5, 7, 5, -1, True)
    assert np.abs(error).max() > 0.1


def test_nearest_interpolation_by_fractions_is_wrong():
    x = torch.randn(1, 1, 518, 2)
    expected = F.interpolate(x, size=(256, 2))
    actual = build(export(lambda x: F.interpolate(x, size=(256, 2)), x))(x)[0]
    assert (torch.from_numpy(actual) != expected).any()


def test_true_division_of_integers_is_wrong():
    x = torch.tensor([3, 4, 5])
    assert build(export(lambda x: x / 2, x))(x)[0].dtype == np.int64


def test_scale_of_attention_is_dropped_without_decomposition():
    q = torch.randn(1, 2, 3, 8)
    program = export(lambda q: F.scaled_dot_product_attention(q, q, q, scale=0.5), q)
    module = from_exported_program(program, run_ep_decomposition=False)
    scales = []

    def visit(expression):
        if isinstance(expression, relax.Call) and "attention" in str(expression.op):
            scales.append(expression.attrs.scale)

    relax.analysis.post_order_visit(module["main"], visit)
    assert scales == [None]


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: x.nonzero(), "nonzero.default"),
        (lambda x: torch.unique(x), "_unique2.default"),
        (lambda x: torch.sort(x, stable=True), "sort.stable"),
        (lambda x: torch.bincount(x, minlength=4), "bincount.default"),
        (lambda x: x.scatter_reduce(0, x, x, "sum"), "scatter_reduce.two"),
    ],
)
def test_operator_is_missing(function, operator):
    program = export(function, torch.tensor([2, 0, 1]))
    names = [entry.split()[0] for entry in unsupported_operators(program, converters())]
    assert operator in names


def _assign_where_positive(x):
    y = x.clone()
    y[x > 0] = 0.0
    return y


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.isfinite, "kDLFloat"),
        (_assign_where_positive, "requires each index tensor to have integer dtype"),
    ],
)
def test_operator_does_not_build(function, message):
    with pytest.raises(Exception, match=message):
        build(export(function, torch.tensor([1.0, -1.0])))


def test_index_tensors_are_not_counted_from_the_end():
    program = export(lambda x, i: x[i], torch.zeros(3), torch.tensor([0, -1]))
    text = from_exported_program(program).script(show_meta=False)
    assert "R.take(" in text
    assert 'mode="fast"' in text  # no bounds, no wrapping: an index of -1 reads before the tensor
