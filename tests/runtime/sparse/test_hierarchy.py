"""Coarse and subdivided voxels are the reference's, in its order."""

import numpy as np
import pytest

from sam_tvm.runtime.errors import VoxelError
from sam_tvm.runtime.sparse import coarsen, subdivide


@pytest.mark.parametrize(("resolution", "count"), [(64, 2000), (8, 512), (5, 60), (2, 1)])
def test_coarse_voxels_are_those_of_the_reference(
    voxels, reference, sparse_tensor, resolution, count
):
    coords = voxels(resolution, count)
    feats = np.random.default_rng(1).standard_normal((count, 4), dtype=np.float32)
    coarse = coarsen(coords)
    down = reference.downsample(2)(sparse_tensor(feats, coords))
    np.testing.assert_array_equal(coarse.coords, down.coords[:, 1:].numpy())
    # The mean that counts one more than there are.
    padded = np.concatenate([np.zeros((1, 4), np.float32), feats])
    present = (coarse.children > 0).sum(axis=1, keepdims=True)
    means = padded[coarse.children].sum(axis=1) / (present + 1)
    np.testing.assert_allclose(means, down.feats.numpy(), atol=1e-6)

    up = reference.upsample(2)(down)
    np.testing.assert_array_equal(up.coords[:, 1:].numpy(), coords)
    np.testing.assert_array_equal(down.feats.numpy()[coarse.parent], up.feats.numpy())
    assert {array.dtype for array in coarse} == {np.dtype(np.int32)}


def test_children_are_where_their_columns_say(voxels):
    coords = voxels(16, 700)
    coarse = coarsen(coords)
    row, column = np.nonzero(coarse.children)
    child = coords[coarse.children[row, column] - 1]
    place = np.stack([column >> 2, column >> 1 & 1, column & 1], axis=1)
    np.testing.assert_array_equal(child, coarse.coords[row] * 2 + place)
    assert len(row) == len(coords)


def test_subdivided_voxels_are_those_of_the_reference(voxels, reference, sparse_tensor):
    coords = voxels(32, 1000)
    tensor = sparse_tensor(np.arange(1000, dtype=np.float32)[:, None], coords)
    once = reference.subdivide()(tensor)
    twice = reference.subdivide()(once)
    np.testing.assert_array_equal(subdivide(coords), once.coords[:, 1:].numpy())
    np.testing.assert_array_equal(subdivide(coords, levels=2), twice.coords[:, 1:].numpy())


def test_a_voxel_given_twice_is_an_error():
    with pytest.raises(VoxelError, match=r"\[3, 4, 5\] is given more than once"):
        coarsen(np.array([[3, 4, 5], [1, 0, 0], [3, 4, 5]]))
