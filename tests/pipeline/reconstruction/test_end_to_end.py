"""A reconstruction is judged by what must be equal: voxels, Gaussians, faces, vertices."""

import importlib

import numpy as np
import pytest

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.bundled import reconstruction_settings
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.pipeline.bundle_contents import MESH_TABLES
from sam_tvm.pipeline.reconstruction.cases import CASES, case_inputs, voxel_noise
from sam_tvm.pipeline.reconstruction.mesh_metrics import (
    DecodedMesh,
    Extraction,
    judge_attributes,
    judge_mesh,
    judge_vertices,
    split_values,
)
from sam_tvm.pipeline.reconstruction.metrics import (
    judge_array,
    judge_gaussians,
    judge_signs,
    judge_voxels,
    relative_error,
)
from sam_tvm.pipeline.report import read_report
from sam_tvm.runtime import flexicubes
from sam_tvm.runtime.reconstruction.preprocess import preprocess
from sam_tvm.runtime.reconstructor import Reconstructor
from sam_tvm.runtime.sparse import prune_interior

SIDE = 16
CUBE_WEIGHT = 52  # among a cube's features: decides on diagonals alone
UNDECIDED = (7, 7, 12)  # a voxel amid others
SETTINGS = reconstruction_settings(get_preset("tiny").sam3d, RunSettings())


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def logits(rng):
    """The referee's logits of a ball's surface, and float32's, which err by up to 1e-5."""
    grid = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    exact = 2.0 - np.abs(np.linalg.norm(grid, axis=0) - 5) + 0.1 * rng.standard_normal((SIDE,) * 3)
    exact[np.abs(exact) < 1e-4] = 1e-4
    exact[UNDECIDED] = 4e-6  # its sign is any float32's guess
    noise = rng.uniform(-1e-5, 1e-5, exact.shape)
    noise[UNDECIDED] = 0
    return exact, (exact + noise).astype(np.float32)


def occupied(values):
    return prune_interior(np.argwhere(values > 0))


def judged(ours, torch32, exact):
    pair = (torch32, occupied(torch32))
    return judge_voxels((ours, occupied(ours)), pair, exact, prune_interior)


def test_equal_voxels_pass_and_are_counted(logits):
    exact, torch32 = logits
    row = judged(torch32.copy(), torch32, exact)
    assert row["passed"] and row["identical"]
    assert row["occupied"] == (torch32 > 0).sum() > row["voxels"] > 300
    assert row["excluded"] == 1 and row["flipped"] == 0


def test_a_logit_within_the_float32_error_of_zero_may_have_either_sign(logits):
    """Even where its neighbours are then pruned otherwise."""
    exact, torch32 = logits
    ours = torch32.copy()
    ours[UNDECIDED] = -2e-6
    row = judged(ours, torch32, exact)
    assert row["passed"] and not row["identical"]
    assert row["flipped"] == 1 and row["wrong"] == 0


def test_a_flipped_voxel_fails(logits):
    exact, torch32 = logits
    ours = torch32.copy()
    ours[tuple(np.argwhere(exact > 0.5)[0])] *= -1
    row = judged(ours, torch32, exact)
    assert not row["passed"] and row["wrong"] == 1


def test_voxels_that_do_not_follow_from_the_logits_fail(logits):
    exact, torch32 = logits
    coords = occupied(torch32)
    pair = (torch32, coords)
    assert not judge_voxels((torch32, coords[1:]), pair, exact, prune_interior)["passed"]


def test_a_logit_that_is_not_a_number_fails(logits):
    """It is not above zero: as a voxel that is not occupied it would go unnoticed."""
    exact, torch32 = logits
    ours = torch32.copy()
    ours[0, 0, 0] = np.nan
    row = judged(ours, torch32, exact)
    assert not row["passed"] and row["wrong"] is None


def test_signs_where_pytorch_is_exact_are_never_excluded():
    exact = np.array([0.0, 1.0])
    torch32 = np.array([0.0, 1.0 + 1e-6], np.float32)
    assert judge_signs(torch32, torch32, exact).excluded == 0
    assert judge_signs(np.array([1e-9, 1.0], np.float32), torch32, exact).wrong == 1


def attributes(rng):
    exact = rng.standard_normal((50, 3))
    return exact, exact.astype(np.float32)


def test_gaussians_are_held_to_a_ten_thousandth_of_their_length(rng):
    exact, torch32 = attributes(rng)
    near, far = torch32.copy(), torch32.copy()
    near[7] *= 1 + 5e-5
    far[7] *= 1 + 2e-4
    assert judge_gaussians("scales", near, torch32, exact)["passed_by"] == "relative"
    assert judge_gaussians("scales", far, torch32, exact)["passed_by"] is None
    assert relative_error(far, torch32) == pytest.approx(2e-4, rel=1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gaussians_that_are_not_finite_fail(rng, value):
    exact, torch32 = attributes(rng)
    ours = torch32.copy()
    ours[3, 1] = value
    row = judge_gaussians("positions", ours, torch32, exact)
    assert row["passed_by"] is None and row["max_relative_error"] is None


def test_more_gaussians_than_the_reference_s_fail(rng):
    exact, torch32 = attributes(rng)
    ours = np.concatenate([torch32, torch32[:1]])
    assert judge_gaussians("positions", ours, torch32, exact)["passed_by"] is None


def test_pixels_without_depth_must_be_the_reference_s(rng):
    exact, torch32 = attributes(rng)
    exact[4], torch32[4] = np.nan, np.nan
    assert judge_array("pointmap", torch32.copy(), torch32, exact)["passed_by"] == "tolerance"
    other = torch32.copy()
    other[5] = np.nan
    assert judge_array("pointmap", other, torch32, exact)["passed_by"] is None


def test_latents_pass_by_the_referee_where_pytorch_is_no_better(rng):
    exact = rng.standard_normal((20, 8))
    torch32 = (exact + rng.choice([-1e-3, 1e-3], exact.shape)).astype(np.float32)
    ours = (exact + rng.choice([-1.5e-3, 1.5e-3], exact.shape)).astype(np.float32)
    assert judge_array("feats", ours, torch32, exact)["passed_by"] == "float64"
    ours = (exact + rng.choice([-3e-3, 3e-3], exact.shape)).astype(np.float32)
    assert judge_array("feats", ours, torch32, exact)["passed_by"] is None


@pytest.fixture(scope="module")
def extraction(tmp_path_factory):
    from sam_tvm.patches.environment import reference_environment

    path = tmp_path_factory.mktemp("flexicubes") / "tables.safetensors"
    with reference_environment("sam3d"):
        flexicubes.save(path, importlib.import_module(MESH_TABLES))
    grid = np.indices((SIDE,) * 3).reshape(3, -1).T
    height = np.linalg.norm(grid + 0.5 - SIDE / 2, axis=1) - 5
    return Extraction(grid[np.abs(height) < 2], SIDE, flexicubes.load(path))


@pytest.fixture(scope="module")
def meshes(extraction):
    """PyTorch's mesh of a rough ball, and the referee's of features that differ by up to 1e-6."""
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((len(extraction.coords), 101))
    corners = extraction.coords[:, None] + flexicubes.cube.CORNERS - SIDE / 2
    exact[:, :8] = 0.3 * exact[:, :8] + np.linalg.norm(corners, axis=2) - 5
    noise = rng.uniform(-1e-6, 1e-6, exact.shape)
    return extraction.again((exact + noise).astype(np.float32)), extraction.again(exact)


def changed(mesh, **arrays):
    return DecodedMesh(**{**vars(mesh), **arrays})


def test_the_same_mesh_passes(extraction, meshes):
    row = judge_mesh(meshes[0], *meshes, extraction)
    assert row["passed"], row
    assert row["faces"] > 1000 and row["distances"]["flipped"] == 0


def test_a_moved_vertex_fails(extraction, meshes):
    vertices = meshes[0].vertices.copy()
    vertices[17, 1] += 3e-5
    row = judge_mesh(changed(meshes[0], vertices=vertices), *meshes, extraction)
    assert not row["passed"] and row["reason"] == "vertices too far off"
    assert row["outputs"]["vertices"]["beyond_tolerance"] == 1


@pytest.mark.parametrize("name", ["features", "vertices", "attributes"])
def test_a_mesh_with_nan_fails(extraction, meshes, name):
    values = getattr(meshes[0], name).copy()
    values[5, 0] = np.nan
    assert not judge_mesh(changed(meshes[0], **{name: values}), *meshes, extraction)["passed"]


def test_other_faces_fail(extraction, meshes):
    faces = meshes[0].faces.copy()
    faces[10] = faces[10][[0, 2, 1]]
    row = judge_mesh(changed(meshes[0], faces=faces), *meshes, extraction)
    assert not row["passed"] and row["reason"]
    fewer = changed(meshes[0], faces=meshes[0].faces[:-2])
    assert not judge_mesh(fewer, *meshes, extraction)["passed"]


def test_a_corner_on_the_other_side_fails(extraction, meshes):
    features = meshes[0].features.copy()
    features[:, :8] += 0.1
    row = judge_mesh(extraction.again(features), *meshes, extraction)
    assert not row["passed"] and row["reason"] == "signed distances of another sign"


def test_a_distance_within_the_float32_error_of_zero_may_have_either_sign(extraction, meshes):
    """Its faces are then others: what is compared is the mesh with PyTorch's sign."""
    at = extraction.coords.tolist().index(min(extraction.coords.tolist()))
    sides = {}
    for name, distance in (("ours", 4e-8), ("torch32", -4e-8), ("torch64", 1e-8)):
        features = np.array(meshes[1].features if name == "torch64" else meshes[0].features)
        features[at, 0] = distance + 1 / SIDE  # a corner of its own: the reference's bias
        sides[name] = extraction.again(features)
    assert len(sides["ours"].faces) != len(sides["torch32"].faces)
    row = judge_mesh(sides["ours"], sides["torch32"], sides["torch64"], extraction)
    assert row["distances"]["flipped"] == 1, row
    assert row["passed"], row


def test_a_square_may_be_split_otherwise_where_pytorch_is_undecided(extraction, meshes):
    rng = np.random.default_rng(1)
    exact = meshes[1].features
    errors = rng.uniform(-0.01, 0.01, len(exact))
    narrow = []
    for sign in (1, -1):
        features = exact.astype(np.float32)
        features[:, CUBE_WEIGHT] += sign * errors
        narrow.append(extraction.again(features))
    ours, torch32 = narrow
    row = judge_mesh(ours, torch32, meshes[1], extraction)
    assert row["passed"], row
    assert 0 < row["splits"]["flipped"] <= row["splits"]["excluded"] < row["faces"] / 20
    assert row["splits"]["other"] == 2 * row["splits"]["flipped"]


def test_a_square_may_not_be_split_otherwise_where_pytorch_is_sure(extraction, meshes):
    square = int(np.abs(split_values(meshes[1], extraction)).argmax())
    faces = meshes[0].faces.copy()
    (a, b, c), (d, _, f) = faces[2 * square : 2 * square + 2]
    # (a, b, c), (a, c, f) becomes (a, b, f), (f, b, c); and the other way round.
    faces[2 * square : 2 * square + 2] = (
        ((a, b, f), (f, b, c)) if a == d else ((a, b, f), (a, f, c))
    )
    row = judge_mesh(changed(meshes[0], faces=faces), *meshes, extraction)
    assert not row["passed"] and row["reason"] == "squares split otherwise"


def test_badly_conditioned_vertices_pass_by_the_referee(rng):
    exact = rng.uniform(-0.5, 0.5, (30, 3))
    torch32 = (exact + 8e-6).astype(np.float32)
    assert judge_vertices((exact - 8e-6).astype(np.float32), torch32, exact)["passed_by"]
    row = judge_vertices((exact - 4e-5).astype(np.float32), torch32, exact)
    assert row["passed_by"] is None and row["beyond_tolerance"] == 30


def test_attributes_are_held_to_what_errors_of_pytorchs_size_do_by_chance(extraction, meshes, rng):
    exact = meshes[1]
    sizes = rng.uniform(0, 2e-5, exact.features.shape)
    signs = (rng.choice([-1.0, 1.0], sizes.shape) for _ in range(12))
    equally_wrong = [extraction.again(exact.features + sizes * sign) for sign in signs]
    equally_wrong = [m for m in equally_wrong if m.attributes.shape == exact.attributes.shape]
    errors = [np.abs(m.attributes - exact.attributes).max() for m in equally_wrong]
    unlucky, lucky = (equally_wrong[find(errors)] for find in (np.argmax, np.argmin))
    assert max(errors) > 2 * min(errors)
    row = judge_attributes(unlucky, lucky, exact, extraction)
    assert row["passed_by"] == "float64"
    assert row["torch_error_vs_float64"] < row["chance_error_vs_float64"] < 2 * max(errors)
    wrong = changed(unlucky, attributes=unlucky.attributes + np.float32(5 * max(errors)))
    assert judge_attributes(wrong, lucky, exact, extraction)["passed_by"] is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_an_object_with_gaps_in_its_depth(case):
    inputs = case_inputs(case, SETTINGS)
    scene = (inputs["image"], inputs["mask"], inputs["pointmap"])
    assert 0.1 < inputs["mask"].mean() < 0.5
    assert np.isinf(inputs["pointmap"][inputs["mask"]]).any()
    conditions = preprocess(*scene, SETTINGS.preprocess)
    assert np.isnan(conditions.pointmap).any() and np.isfinite(conditions.pointmap).any()
    again = case_inputs(case, SETTINGS)
    assert all(np.array_equal(again[name], values) for name, values in inputs.items())


def test_a_voxel_has_its_noise_whichever_others_are_occupied(rng):
    grid_noise = rng.standard_normal((SIDE**3, 8), np.float32)
    coords = np.array([[0, 0, 1], [3, 2, 1], [15, 15, 15]])
    noise = voxel_noise(grid_noise, coords, SIDE)
    np.testing.assert_array_equal(noise[1:], voxel_noise(grid_noise, coords[1:], SIDE))
    np.testing.assert_array_equal(noise[2], grid_noise[-1])


@pytest.fixture(scope="module")
def rows(ported):
    return [row for row in read_report(ported)["end_to_end"] if row["model"] == "sam3d"]


def test_every_reconstruction_passed_and_counts(rows):
    assert [row["case"] for row in rows] == [case.name for case in CASES]
    for row in rows:
        assert row["passed"], row
        assert 300 <= row["voxels"] <= 20_000 and row["faces"] > 1000
        for stages in row["stages"].values():
            assert len(stages) == 9 and all(stage["passed"] for stage in stages.values())


def test_every_reconstruction_is_there_to_look_at(rows, ported):
    from PIL import Image

    for row in rows:
        folder = ported.folder / "end_to_end" / row["case"]
        with Image.open(folder / "comparison.png") as picture:
            assert len(np.unique(np.asarray(picture))) > 50
        assert (folder / "gaussians.ply").is_file() and (folder / "mesh.glb").is_file()


def test_a_bundle_that_fails_in_a_stage_fails_there(ported, monkeypatch):
    """Free-running, what follows is not run, and says so; forced, it is."""
    from sam_tvm.pipeline.reconstruction import end_to_end

    folder = ported.folder / "reference" / "sam3d_end_to_end"
    reference = end_to_end._Reference.read(folder, CASES[0].name)
    reconstructor = Reconstructor.load(ported.bundle_folder("sam3d"), verify=False)
    stages = ("preprocess", "structure_condition", "latent_condition")

    def broken(*args):
        raise ValueError("no condition")

    chosen = {name: end_to_end.STAGES[name] for name in stages}
    monkeypatch.setattr(end_to_end, "STAGES", {**chosen, "structure_condition": broken})
    forced, _ = end_to_end.run_stages(reconstructor, reference, "forced")
    free, _ = end_to_end.run_stages(reconstructor, reference, "free")
    assert forced["structure_condition"]["reason"] == "ValueError: no condition"
    assert forced["latent_condition"]["passed"] and free["preprocess"]["passed"]
    assert free["latent_condition"] == {
        "passed": False,
        "reason": "not run: structure_condition failed",
    }
