"""The mesh is the reference's: the same faces, vertices and colours in the same order."""

import tracemalloc

import numpy as np
import pytest

from sam_tvm.runtime.errors import VoxelError
from sam_tvm.runtime.flexicubes import extract_mesh, feature_channels

# Of values of magnitude 1: sigmoid and tanh round differently by a unit in the last place.
TOLERANCE = 5e-7


def scattered(resolution: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cubes anywhere, with features of noise: all cases, ambiguous ones among them."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(resolution**3, count, replace=False)
    coords = np.stack(np.unravel_index(chosen, (resolution,) * 3), axis=1)
    return rng.standard_normal((count, 101), dtype=np.float32), coords


def assert_equal(mesh, expected) -> None:
    vertices, faces, attributes = expected
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(mesh.attributes, attributes, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("resolution", "count", "seed"),
    [(8, 40, 0), (8, 200, 1), (8, 512, 2), (16, 1500, 3), (24, 10000, 4)],
)
def test_any_cubes_give_the_reference_mesh(tables, reference_mesh, resolution, count, seed):
    feats, coords = scattered(resolution, count, seed)
    before = feats.copy()
    mesh = extract_mesh(feats, coords, resolution, tables)
    np.testing.assert_array_equal(feats, before)
    assert len(mesh.faces) > 300
    assert_equal(mesh, reference_mesh(feats, coords, resolution))


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_a_surface_gives_the_reference_mesh(tables, reference_mesh, ball, noise):
    feats, coords = ball(24, 8, noise)
    assert_equal(extract_mesh(feats, coords, 24, tables), reference_mesh(feats, coords, 24))


def test_cubes_with_ambiguous_faces_are_among_those_compared(tables):
    """Two such cubes behind each other take other cases, which no other test would show."""
    from sam_tvm.runtime.flexicubes.cases import surface_cases
    from sam_tvm.runtime.flexicubes.lattice import point_steps
    from sam_tvm.runtime.flexicubes.mesh import _features
    from sam_tvm.runtime.flexicubes.surface import find_surface

    feats, coords = scattered(24, 10000, 4)
    cubes = (coords @ point_steps(24)).astype(np.int32)
    surface = find_surface(cubes, _features(feats, len(cubes)), 24)
    plain = surface.inside @ (1 << np.arange(8))
    assert (surface_cases(surface, tables, 24) != plain).sum() > 10
    assert set(plain.tolist()) == set(range(1, 255))


def test_isolated_and_border_cubes_reach_into_empty_ones(tables, reference_mesh):
    """A negative corner of a lone cube makes a mesh that is closed by its empty neighbours."""
    coords = np.array([[0, 0, 0], [7, 7, 7], [3, 4, 2], [0, 7, 5]])
    feats = np.zeros((4, 101), np.float32)
    feats[:, :8] = -0.5
    feats[2, :4] = 0.5
    mesh = extract_mesh(feats, coords, 8, tables)
    assert len(mesh.faces)
    assert_equal(mesh, reference_mesh(feats, coords, 8))


def test_without_colour_there_are_no_attributes(tables, reference_mesh, ball):
    feats, coords = ball(16, 5)
    bare = np.ascontiguousarray(feats[:, : feature_channels(colour=False)])
    mesh = extract_mesh(bare, coords, 16, tables)
    vertices, faces, attributes = reference_mesh(bare, coords, 16)
    assert attributes is None and mesh.attributes.shape == (len(vertices), 0)
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_allclose(mesh.vertices, vertices, rtol=0, atol=TOLERANCE)


def test_a_smooth_ball_becomes_a_closed_ball(tables, ball):
    feats, coords = ball(24, 8, noise=0, depth=8)
    feats[:, 8:] = 0
    mesh = extract_mesh(feats, coords, 24, tables)
    edges = np.sort(np.concatenate([mesh.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]))
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    # The bias of a 24th counts as a distance in cells.
    radius = np.linalg.norm(mesh.vertices, axis=1) * 24
    np.testing.assert_allclose(radius, 8 + 1 / 24, atol=0.1)
    corners = mesh.vertices[mesh.faces].astype(np.float64) * 24
    volume = np.linalg.det(corners).sum() / 6  # positive if the faces are wound outwards
    np.testing.assert_allclose(volume, 4 / 3 * np.pi * 8**3, rtol=0.03)


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_no_surface_gives_an_empty_mesh(tables, reference_mesh, value):
    """Nothing inside; or everything, in a grid that is full."""
    coords = np.indices((4, 4, 4)).reshape(3, -1).T
    feats = np.full((64, 101), value, np.float32)
    mesh = extract_mesh(feats, coords, 4, tables)
    for array, expected in zip(mesh, reference_mesh(feats, coords, 4), strict=True):
        assert array.shape == expected.shape and not array.size


def test_memory_grows_with_the_cubes_and_not_with_the_grid(tables, ball):
    feats, coords = ball(16, 5)
    tracemalloc.start()
    extract_mesh(feats, coords, 1024, tables)  # one bit for each corner would be 128 MiB
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


def test_the_grid_may_be_as_fine_as_the_references_coordinates_allow(tables, ball):
    feats, coords = ball(16, 5)
    low = extract_mesh(feats, coords, 1024, tables)
    high = extract_mesh(feats, coords + 1024 - 16, 1024, tables)
    np.testing.assert_array_equal(low.faces, high.faces)
    np.testing.assert_allclose(low.vertices + 1 - 16 / 1024, high.vertices, atol=2e-7)


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ([[1, 1, 1], [1, 1, 1]], r"\[1, 1, 1\] is given more than once"),
        ([[1, 1, 1], [1, 8, 1]], r"\[1, 8, 1\] is outside the grid: .* from 0 to 7"),
        (np.zeros((0, 3), int), "there are no voxels"),
    ],
)
def test_unusable_cubes_are_an_error(tables, coords, message):
    coords = np.array(coords)
    with pytest.raises(VoxelError, match=message):
        extract_mesh(np.zeros((len(coords), 101), np.float32), coords, 8, tables)


@pytest.mark.parametrize(
    "feats", [np.zeros((2, 101)), np.zeros((2, 100), np.float32), np.zeros((3, 101), np.float32)]
)
def test_features_of_another_form_are_an_error(tables, feats):
    with pytest.raises(ValueError, match=r"must be float32 of shape \(2, 101\)"):
        extract_mesh(feats, np.array([[0, 0, 0], [1, 1, 1]]), 8, tables)
