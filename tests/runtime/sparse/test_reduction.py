"""Pruning and downsampling keep the voxels that the reference keeps."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from sam_tvm.runtime.errors import VoxelError
from sam_tvm.runtime.sparse import VOXEL_LIMIT, downsample_to_limit, prune_interior


@pytest.fixture(scope="module")
def pipeline():
    """Two functions of the reference's pipeline; importing the whole of it needs a GPU."""
    from sam_tvm.patches.environment.sam3d_package import package_folder

    path = Path(package_folder()) / "sam3d_objects" / "pipeline" / "inference_utils.py"
    wanted = ("prune_sparse_structure", "downsample_sparse_structure")
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in wanted]
    names = {"torch": torch}
    exec(compile(tree, str(path), "exec"), names)
    return {name: names[name] for name in wanted}


def batched(coords: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.concatenate([np.zeros_like(coords[:, :1]), coords], axis=1)).int()


def solid(radius: int, centre: tuple[int, int, int]) -> np.ndarray:
    grid = np.indices((64, 64, 64)).reshape(3, -1).T
    return grid[np.linalg.norm(grid - np.array(centre), axis=1) < radius].astype(np.int32)


@pytest.mark.parametrize("distance", [1, 2, 3])
@pytest.mark.parametrize("centre", [(32, 32, 32), (5, 60, 30)])
def test_pruning_keeps_what_the_reference_keeps(pipeline, voxels, distance, centre):
    for coords, hollow in ((solid(12, centre), True), (voxels(16, 3000), False)):
        expected = pipeline["prune_sparse_structure"](batched(coords), distance)[:, 1:]
        kept = prune_interior(coords, distance)
        np.testing.assert_array_equal(kept, expected.numpy())
        assert len(kept) < len(coords) or not hollow


def test_pruning_by_nothing_keeps_all(voxels):
    coords = voxels(16, 2000)
    np.testing.assert_array_equal(prune_interior(coords, 0), coords)
    with pytest.raises(VoxelError, match="must be 0 or more, not -1"):
        prune_interior(coords, -1)


def test_few_enough_voxels_stay_as_they_are(pipeline, voxels):
    coords = voxels(32, 500)
    kept, factor = downsample_to_limit(coords, limit=500)
    expected, expected_factor = pipeline["downsample_sparse_structure"](batched(coords), 500)
    np.testing.assert_array_equal(kept, expected[:, 1:].numpy())
    assert factor == expected_factor == 1


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("count", [500, 1500, 2500])
def test_downsampling_gives_the_voxels_of_the_reference(pipeline, voxels, factor, count):
    coords = voxels(40, 4000, seed=count)[:count] + np.array([3, 0, 11], np.int32)
    kept, by = downsample_to_limit(coords, count - 1, factor)
    expected, _ = pipeline["downsample_sparse_structure"](batched(coords), count - 1, factor)
    np.testing.assert_array_equal(kept, expected[:, 1:].numpy())
    assert by == factor and kept.dtype == np.int32


def test_downsampling_above_the_real_limit(pipeline):
    coords = solid(23, (30, 33, 31))
    assert len(coords) > VOXEL_LIMIT
    kept, factor = downsample_to_limit(coords)
    expected, _ = pipeline["downsample_sparse_structure"](batched(coords))
    np.testing.assert_array_equal(kept, expected[:, 1:].numpy())
    assert len(kept) <= VOXEL_LIMIT and factor == 2


@pytest.mark.parametrize("layer", [0, 7])
def test_a_single_layer_of_voxels_is_downsampled_as_in_the_reference(pipeline, voxels, layer):
    coords = voxels(16, 600)
    coords[:, 1] = layer
    coords = np.unique(coords, axis=0)
    kept, factor = downsample_to_limit(coords, 100)
    expected, _ = pipeline["downsample_sparse_structure"](batched(coords), 100)
    np.testing.assert_array_equal(kept, expected[:, 1:].numpy())
    assert factor == 2 and len(np.unique(kept[:, 1])) == 1


def test_thinning_takes_the_drawn_voxels(pipeline, voxels, monkeypatch):
    coords = voxels(32, 4000)
    monkeypatch.setattr(
        torch, "randperm", lambda n, device: torch.tensor(np.random.default_rng(5).permutation(n))
    )
    expected, _ = pipeline["downsample_sparse_structure"](batched(coords), 200)
    kept, _ = downsample_to_limit(coords, 200, rng=np.random.default_rng(5))
    np.testing.assert_array_equal(kept, expected[:, 1:].numpy())
    assert kept.shape == (200, 3)


def test_thinning_is_the_same_each_time(voxels):
    coords = voxels(32, 4000)
    first, _ = downsample_to_limit(coords, 200)
    second, _ = downsample_to_limit(coords, 200)
    np.testing.assert_array_equal(first, second)
