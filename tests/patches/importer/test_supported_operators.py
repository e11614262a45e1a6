"""What TVM 0.27 imports as it should: no patch, and a failure here calls for one."""

import copy

import numpy as np
import torch
from patch_support import assert_as_accurate_as_torch, build, export, naive_roi_align
from torch import nn
from torch.nn import functional as F

from sam_tvm.patches.environment import declare_operators


def _assert_equal(function, *inputs, tolerance=0.0):
    for actual, expected in zip(
        build(export(function, *inputs))(*inputs), function(*inputs), strict=True
    ):
        assert actual.dtype == expected.numpy().dtype
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def test_scatter_src_of_symbolic_sizes():
    def scatter(x, index, src):
        return (x.scatter(0, index, src),)

    example = torch.randn(5, 2, 3), torch.randint(0, 5, (2, 2, 3)), torch.randn(2, 2, 3)
    example[1][:] = torch.tensor([3, 1])[:, None, None]
    sizes = ({0: "n", 1: "B"}, {0: "m", 1: "B"}, {0: "m", 1: "B"})
    run = build(export(scatter, *example, sizes=sizes))
    index = torch.tensor([6, 0, 2])[:, None, None].expand(-1, 4, 3).contiguous()
    inputs = torch.randn(7, 4, 3), index, torch.randn(3, 4, 3)
    np.testing.assert_array_equal(run(*inputs)[0], scatter(*inputs)[0])


def test_roi_align_not_aligned():
    declare_operators()

    def pool(images, rois):
        return torch.ops.torchvision.roi_align(images, rois, 1.0, 7, 5, -1, False)

    images = torch.randn(2, 3, 12, 10)
    boxes = [[1.0, 2, 7.5, 9.25], [-3, -2, 4, 6], [20, 20, 30, 31], [5, 5, 4, 3], [4, 4, 4, 4]]
    rois = torch.tensor([[index % 2, *box] for index, box in enumerate(boxes)])
    run = build(export(pool, images, rois, sizes=({}, {0: "k"})))
    for count in (5, 1):
        expected = naive_roi_align(images, rois[:count], 1.0, 7, 5, -1, False)
        np.testing.assert_allclose(run(images, rois[:count])[0], expected, rtol=0, atol=1e-5)


def test_boolean_masks():
    mask = torch.tensor([[True, False, False], [False, False, True]])

    def masks(x, mask):
        return (
            x.masked_fill(mask, -5.0),
            torch.where(mask, x, 2 * x),
            ~mask,
            mask & ~mask[:1],
            mask.any(dim=1),
            mask.sum(dim=1),
            torch.cat([mask, ~mask], dim=1),
        )

    _assert_equal(masks, torch.randn(2, 3), mask)


def test_softmax_of_minus_infinity():
    x = torch.randn(2, 4)
    x[:, 1:3] = float("-inf")
    _assert_equal(lambda x: (x.softmax(-1),), x, tolerance=1e-6)


def test_attention_with_masked_keys_and_a_row_without_keys():
    mask = torch.tensor([[True, True, False, True], [False, False, False, False]])

    def attend(q, k, v, mask):
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :]),)

    q, k, v = (torch.randn(2, 2, size, 8) for size in (3, 4, 4))
    _assert_equal(attend, q, k, v, mask, tolerance=1e-6)


def test_slices():
    def slices(x):
        return x[1:], x[:, :-1], x[..., 1:4:2], x[:, -2:]

    _assert_equal(slices, torch.randn(3, 4, 5))


def test_assertions_on_data():
    def checked(x):
        torch._assert_async((x > 0).all())
        return (x + 1,)

    _assert_equal(checked, torch.rand(3))


def test_nearest_interpolation_by_whole_factors():
    _assert_equal(lambda x: (F.interpolate(x, size=(10, 8)),), torch.randn(1, 2, 5, 4))


def test_expansion_and_reshaping_of_symbolic_sizes():
    def reshape(x):
        batch = x.shape[1]
        return (
            x.transpose(0, 1).reshape(batch * 2, -1),
            x[:, :, None].expand(-1, -1, 3, -1),
            torch.arange(batch) + 1,
            x.new_zeros(batch, 2),
        )

    run = build(export(reshape, torch.randn(4, 2, 6), sizes=({1: "B"},)))
    x = torch.randn(4, 5, 6)
    for actual, expected in zip(run(x), reshape(x), strict=True):
        np.testing.assert_array_equal(actual, expected)


class _Layers(nn.Module):
    def __init__(self):
        super().__init__()
        padded, valid = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 7)
        transposed, pool = nn.ConvTranspose2d(4, 6, 2, stride=2), nn.MaxPool2d(2, 2)
        self.layers = nn.ModuleList([padded, valid, transposed, pool])

    def forward(self, x):
        return [layer(x) for layer in self.layers]


def test_convolutions_and_pooling():
    layers, x = _Layers().requires_grad_(False), torch.randn(2, 4, 8, 8)
    actual = build(export(layers, x))(x)
    referees = copy.deepcopy(layers).double()(x.double())
    for results in zip(actual, layers(x), referees, strict=True):
        assert_as_accurate_as_torch(*results)
