"""Submanifold convolutions through tables equal dense ones at the occupied voxels."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sam_tvm.models.sam3d.sparse import convolution
from sam_tvm.models.sam3d.sparse.convolution import SubmanifoldConv, sum_of_taps
from sam_tvm.models.sam3d.sparse.tables import fine_table
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


@pytest.mark.parametrize("gathered", [1, 3 * INPUTS, 2560])
def test_convolution_equals_the_dense_one(gathered, monkeypatch):
    monkeypatch.setattr(convolution, "GATHERED", gathered)
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
    torch.testing.assert_close(layer.of_subdivided(x, table(coords), 1), expected)


@pytest.mark.parametrize("rows_per_voxel", [1, 8, 512])
def test_convolution_after_a_subdivision_adds_to_what_the_parent_gives(rows_per_voxel):
    layer, coords = conv(), voxels()
    fine = torch.from_numpy(subdivide(coords.numpy()))
    x, start = torch.randn(len(fine), INPUTS), torch.randn(len(coords), OUTPUTS)
    expected = dense(layer, x, fine, 2 * SIDE) + start.repeat_interleave(8, 0)
    actual = layer.after_subdivision(x, table(coords), start, rows_per_voxel)
    torch.testing.assert_close(actual, expected)


def test_fine_table_is_that_of_the_fine_voxels():
    coords = voxels()
    fine = torch.from_numpy(subdivide(coords.numpy()))
    assert torch.equal(fine_table(table(coords)), table(fine, 2 * SIDE))


def test_pointwise_convolution_reads_its_weight_untransposed():
    layer, x = conv(1), torch.randn(4, INPUTS)
    expected = x @ layer.conv.weight.reshape(INPUTS, OUTPUTS) + layer.conv.bias
    torch.testing.assert_close(layer.pointwise(x), expected)


def test_gathered_rows_stay_within_their_bound():
    """At the finest level a voxel has 64 rows: not all 27 taps of any of them at once."""
    asked = []

    def table_of(taps: range) -> torch.Tensor:
        asked.append(len(taps))
        return torch.zeros(3, len(taps), dtype=torch.int32)

    sum_of_taps(torch.zeros(2, 96), table_of, torch.zeros(27, 96, 7), torch.zeros(7), 8)
    assert sum(asked) == 27
    assert max(asked) * 96 * 8 <= convolution.GATHERED
