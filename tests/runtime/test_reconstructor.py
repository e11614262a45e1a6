"""A picture, a mask and a pointmap become an object, through the tiny bundle."""

import json

import numpy as np
import pytest
import trimesh
from PIL import Image

from sam_tvm.runtime import Reconstructor
from sam_tvm.runtime.errors import BundleError, MaskError, ReconstructionError, VoxelError
from sam_tvm.runtime.reconstruction.results import write_reconstruction
from sam_tvm.runtime.reconstruction.sampling import initial_noise
from sam_tvm.runtime.sparse import VOXEL_LIMIT

SIZE = 96, 120
STEPS = 2


@pytest.fixture(scope="module")
def reconstructor(ported):
    return Reconstructor.load(ported.bundle_folder("sam3d"))


@pytest.fixture(scope="module")
def scene():
    """A picture, the mask of a disc in it, and a wall that comes nearer there."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width].astype(np.float32)
    disc = (y - 50) ** 2 + (x - 66) ** 2 < 28**2
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = 4 + 0.01 * y - disc
    pointmap = np.stack([-(x - 60) / 100 * depth, -(y - 48) / 100 * depth, depth], axis=-1)
    return image, disc, pointmap


@pytest.fixture(scope="module")
def result(reconstructor, scene):
    return reconstructor.reconstruct(*scene, seed=3, steps=STEPS, latent_steps=STEPS)


def test_an_object_is_finite_and_of_its_voxels(result, reconstructor):
    voxels, resolution = len(result.coords), reconstructor.settings.resolution
    assert voxels > 0
    assert result.coords.min() >= 0
    assert result.coords.max() < resolution
    assert len(result.gaussians) == 8 * voxels
    for array in (*vars(result.gaussians).values(), result.mesh.vertices, result.pose.scale):
        assert np.isfinite(array).all()
    assert len(result.mesh.faces)
    assert np.abs(result.mesh.vertices).max() <= 0.51


def test_one_seed_gives_one_object_and_another_another(reconstructor, scene, result):
    again = reconstructor.reconstruct(*scene, seed=3, steps=STEPS, latent_steps=STEPS, mesh=False)
    np.testing.assert_array_equal(again.coords, result.coords)
    np.testing.assert_array_equal(again.gaussians.positions, result.gaussians.positions)
    assert again.mesh is None
    other = reconstructor.reconstruct(*scene, seed=4, steps=STEPS, latent_steps=STEPS, mesh=False)
    assert other.coords.shape != result.coords.shape or (other.coords != result.coords).any()


def test_the_second_decoder_gives_fewer_gaussians(reconstructor, scene):
    result = reconstructor.reconstruct(
        *scene, steps=1, distilled=True, decoder="gs_decoder_4", mesh=False
    )
    assert len(result.gaussians) == 4 * len(result.coords)


def test_files_open_in_other_programs_and_name_the_pose(result, tmp_path):
    folder = tmp_path / "object"
    write_reconstruction(folder, result, {"picture": {"file": "disc.png"}})
    layout = json.loads((folder / "layout.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*layout["files"], "layout.json"]
    )
    assert layout["picture"] == {"file": "disc.png"}
    assert layout["voxels"] == len(result.coords)
    np.testing.assert_allclose(layout["translation"], result.pose.translation)
    mesh = trimesh.load(folder / "mesh.glb", force="mesh", process=False)
    assert mesh.faces.shape == result.mesh.faces.shape
    points = trimesh.load(folder / "gaussians.ply")
    assert len(points.vertices) == len(result.gaussians)
    preview = np.asarray(Image.open(folder / "preview.png"))
    assert preview.std() > 1


def test_an_interrupted_write_leaves_the_former_files(result, tmp_path, contents, monkeypatch):
    write_reconstruction(tmp_path, result, {})
    before = contents(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam_tvm.runtime.reconstruction.results.write_preview", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_reconstruction(tmp_path, result, {})
    assert contents(tmp_path) == before


def test_an_empty_mask_is_refused(reconstructor, scene):
    image, mask, pointmap = scene
    with pytest.raises(MaskError, match="empty"):
        reconstructor.reconstruct(image, np.zeros_like(mask), pointmap)


def test_no_occupied_voxel_is_refused(reconstructor, scene, monkeypatch):
    side = reconstructor.settings.resolution
    nothing = np.full((side,) * 3, -1.0, np.float32)
    monkeypatch.setattr(reconstructor, "occupancy", lambda _: nothing)
    with pytest.raises(ReconstructionError, match="no voxel is occupied"):
        reconstructor.reconstruct(*scene, steps=1)


def test_more_voxels_than_the_limit_are_refused(reconstructor):
    coords = np.stack(np.unravel_index(np.arange(VOXEL_LIMIT + 1), (64,) * 3), axis=1)
    features = np.zeros((len(coords), 8), np.float32)
    with pytest.raises(VoxelError, match="42001 voxels are more than the limit of 42000"):
        reconstructor.decode_gaussians(features, coords)


def test_an_unknown_decoder_is_refused(reconstructor, scene):
    with pytest.raises(ValueError, match="gs_decoder, gs_decoder_4"):
        reconstructor.reconstruct(*scene, decoder="gs_decoder_5")


def test_the_shortcut_is_told_its_step(reconstructor, scene):
    """The network sees the step's length, and the result differs from guided sampling."""
    noise = initial_noise(reconstructor.settings.structure_shapes, np.random.default_rng(0))
    spec = reconstructor.bundle.manifest.functions["ss_generator"].inputs
    shape = next(tensor.shape for tensor in spec if tensor.name == "cond")
    tokens = np.random.default_rng(1).standard_normal(shape, np.float32)
    guided = reconstructor.sample_structure(tokens, noise, steps=2)
    short = reconstructor.sample_structure(tokens, noise, steps=2, distilled=True)
    assert np.abs(guided["shape"] - short["shape"]).max() > 1e-3


def test_a_bundle_of_sam3_is_refused(bundle):
    with pytest.raises(BundleError, match="holds no SAM-3D-Objects"):
        Reconstructor.load(bundle)
