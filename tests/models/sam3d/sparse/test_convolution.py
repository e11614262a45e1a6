"""Submanifold convolutions through tables equal dense ones at the occupied voxels."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse.convolution import SubmanifoldConv
from sam_tvm.models.sam3d.sparse.tables import fine_table
from sam_tvm.patches import gathered_product
from sam_tvm.runtime.sparse import coarsen, neighbour_table, subdivide

SIDE, INPUTS, OUTPUTS = 8, 6, 5


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def conv(size: int = 3) -> SubmanifoldConv:
    """A convolution in spconv's layout of weights."""
    holder = nn.Module()
    holder.conv = nn.Module()
    holder.conv.weight = nn.Parameter(torch.randn(OUTPUTS, size, size, size, INPUTS))
    holder.conv.bias = nn.Parameter(torch.randn(OUTPUTS))
    return SubmanifoldConv(holder)


def voxels(side: int = SIDE) -> torch.Tensor:
    """Some voxels, the first and last of the grid and lone ones among them, out of order."""
    chosen = torch.rand(side, side, side) < 0.2
    chosen[0, 0, 0] = chosen[-1, -1, -1] = True
    coords = chosen.nonzero()
    return coords[torch.randperm(len(coords))].int()


def table(coords: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    return torch.from_numpy(neighbour_table(coords.numpy(), side))


def dense(layer: SubmanifoldConv, x: torch.Tensor, coords: torch.Tensor, side: int = SIDE):
    """The same convolution on the whole grid, at the voxels."""
    place = tuple(coords.long().T)
    grid = torch.zeros(INPUTS, side, side, side)
    grid[(slice(None), *place)] = x.T
    weight = layer.conv.weight.permute(0, 4, 1, 2, 3)
    return F.conv3d(grid[None], weight, layer.conv.bias, padding=1)[0][(slice(None), *place)].T


@pytest.mark.parametrize("gathered", [1, 5 * 8 * INPUTS, 1 << 20])
def test_convolution_equals_the_dense_one(gathered, monkeypatch):
    monkeypatch.setattr(gathered_product, "GATHERED", gathered)
    layer, coords = conv(), voxels()
    x = torch.randn(len(coords), INPUTS)
    torch.testing.assert_close(layer(x, table(coords)), dense(layer, x, coords))


def test_convolution_of_upsampled_features_equals_that_of_the_copies():
    layer, coords = conv(), voxels()
    coarse = coarsen(coords.numpy())
    parent = torch.from_numpy(coarse.parent)
    x = torch.randn(len(coarse.coords), INPUTS)
    expected = dense(layer, x[parent.long()], coords)
    torch.testing.assert_close(layer.of_copies(x, parent, table(coords)), expected)


def test_convolution_of_subdivided_features_equals_that_of_the_copies():
    layer, coords = conv(), voxels()
    x = torch.randn(len(coords), INPUTS)
    fine = torch.from_numpy(subdivide(coords.numpy()))
    expected = dense(layer, x.repeat_interleave(8, 0), fine, 2 * SIDE)
    torch.testing.assert_close(layer.of_subdivided(x, table(coords)), expected)


def test_convolution_after_a_subdivision_adds_to_what_the_parent_gives():
    layer, coords = conv(), voxels()
    fine = torch.from_numpy(subdivide(coords.numpy()))
    x, start = torch.randn(len(fine), INPUTS), torch.randn(len(coords), OUTPUTS)
    expected = dense(layer, x, fine, 2 * SIDE) + start.repeat_interleave(8, 0)
    actual = layer.after_subdivision(x, table(coords), start)
    torch.testing.assert_close(actual, expected)


def test_fine_table_is_that_of_the_fine_voxels():
    coords = voxels()
    fine = torch.from_numpy(subdivide(coords.numpy()))
    assert torch.equal(fine_table(table(coords)), table(fine, 2 * SIDE))


def test_pointwise_convolution_reads_its_weight_untransposed():
    layer, x = conv(1), torch.randn(4, INPUTS)
    expected = x @ layer.conv.weight.reshape(INPUTS, OUTPUTS) + layer.conv.bias
    torch.testing.assert_close(layer.pointwise(x), expected)


def test_convolution_adds_to_a_start():
    layer, coords = conv(), voxels()
    x, start = torch.randn(len(coords), INPUTS), torch.randn(len(coords), OUTPUTS)
    expected = dense(layer, x, coords) + start
    torch.testing.assert_close(layer(x, table(coords), start), expected)


def test_gathered_rows_stay_within_their_bound(monkeypatch):
    """In PyTorch too: at the finest level there are 64 rows a voxel, of 27 neighbours each."""
    asked = []
    take = torch.index_select

    def index_select(x, axis, index):
        if axis == 0:
            asked.append(len(index) * x.shape[1])
        return take(x, axis, index)

    coords, bound = voxels(), 2000
    monkeypatch.setattr(torch, "index_select", index_select)
    monkeypatch.setattr(gathered_product, "GATHERED", bound)
    conv()(torch.randn(len(coords), INPUTS), table(coords))
    assert sum(asked) == 27 * len(coords) * INPUTS
    assert max(asked) <= bound
