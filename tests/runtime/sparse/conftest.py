"""Irregular voxels, and the reference's sparse modules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

Voxels = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def voxels() -> Voxels:
    """Make `count` distinct voxels in random order.

    Half lie in a noisy shell; the others, the grid's corners among them, mostly lie alone.
    """

    def make(resolution: int, count: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        grid = np.indices((resolution,) * 3).reshape(3, -1).T
        distance = np.abs(np.linalg.norm(grid - (resolution - 1) / 2, axis=1) - resolution * 0.35)
        shell = grid[np.argsort(distance + rng.uniform(0, 2, len(grid)))[: count // 2]]
        corners = np.array(list(itertools.product((0, resolution - 1), repeat=3)))
        scattered = rng.permutation(grid)
        chosen = np.concatenate([corners, shell, scattered])
        _, first = np.unique(chosen, axis=0, return_index=True)
        return rng.permutation(chosen[np.sort(first)[:count]]).astype(np.int32)

    return make


@pytest.fixture(scope="module")
def reference() -> Iterator[SimpleNamespace]:
    """The reference's modules that need none of spconv's kernels."""
    from sam_tvm.patches.environment import reference_environment

    with reference_environment("sam3d"):
        from sam3d_objects.model.backbone.tdfy_dit.modules.sparse import (
            SparseDownsample,
            SparseSubdivide,
            SparseTensor,
            SparseUpsample,
        )
        from sam3d_objects.model.backbone.tdfy_dit.modules.sparse.attention.windowed_attn import (
            calc_window_partition,
        )

        yield SimpleNamespace(
            tensor=SparseTensor,
            downsample=SparseDownsample,
            upsample=SparseUpsample,
            subdivide=SparseSubdivide,
            window_partition=calc_window_partition,
        )


@pytest.fixture
def sparse_tensor(reference):
    """Make a reference tensor, batch 1, of features (N, C) and voxels (N, 3)."""
    import torch

    def make(feats: np.ndarray, coords: np.ndarray):
        batched = np.concatenate([np.zeros_like(coords[:, :1]), coords], axis=1)
        return reference.tensor(torch.tensor(feats), torch.tensor(batched).int())

    return make
