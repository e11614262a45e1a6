"""The reference's FlexiCubes, its case tables, and cubes to extract meshes from."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from sam_tvm.runtime import flexicubes
from sam_tvm.runtime.flexicubes.cube import CORNERS


@pytest.fixture(scope="module")
def reference() -> Iterator[SimpleNamespace]:
    from sam_tvm.patches.environment import reference_environment

    with reference_environment("sam3d"):
        from sam3d_objects.model.backbone.tdfy_dit.modules.sparse import SparseTensor
        from sam3d_objects.model.backbone.tdfy_dit.representations.mesh import SparseFeatures2Mesh
        from sam3d_objects.model.backbone.tdfy_dit.representations.mesh.flexicubes import tables

        yield SimpleNamespace(
            tensor=SparseTensor, features_to_mesh=SparseFeatures2Mesh, tables=tables
        )


@pytest.fixture(scope="module")
def tables(reference, tmp_path_factory) -> flexicubes.CaseTables:
    path = tmp_path_factory.mktemp("flexicubes") / "tables.safetensors"
    flexicubes.save(path, reference.tables)
    return flexicubes.load(path)


@pytest.fixture
def reference_mesh(reference):
    """Extract a mesh as the reference does; colours are None without."""
    import torch

    def extract(feats: np.ndarray, coords: np.ndarray, resolution: int):
        colour = feats.shape[1] == flexicubes.feature_channels(colour=True)
        batched = np.concatenate([np.zeros_like(coords[:, :1]), coords], axis=1)
        # A copy: the reference adds its bias in place.
        tensor = reference.tensor(torch.tensor(feats), torch.tensor(batched).int())
        mesh = reference.features_to_mesh("cpu", resolution, colour)(tensor)
        attributes = None if mesh.vertex_attrs is None else mesh.vertex_attrs.numpy()
        return mesh.vertices.numpy(), mesh.faces.numpy(), attributes

    return extract


@pytest.fixture(scope="session")
def ball():
    """Cubes around a ball's surface, and features of them: a distance, and noise in the rest.

    The cubes reach 2 outwards and `depth` inwards.
    """

    def make(resolution: int, radius: float, noise: float = 0.3, depth: float = 2, seed: int = 0):
        rng = np.random.default_rng(seed)
        grid = np.indices((resolution,) * 3).reshape(3, -1).T
        middle = resolution / 2
        height = np.linalg.norm(grid + 0.5 - middle, axis=1) - radius
        coords = rng.permutation(grid[(height < 2) & (height > -depth)])
        feats = rng.standard_normal((len(coords), 101), dtype=np.float32)
        distance = np.linalg.norm(coords[:, None] + CORNERS - middle, axis=2) - radius
        feats[:, :8] = noise * feats[:, :8] + distance
        return feats, coords

    return make
