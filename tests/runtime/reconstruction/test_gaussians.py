"""Decoder features become the reference's Gaussians, and a file that others read."""

import numpy as np
import plyfile
import pytest
import torch
import trimesh

from sam_tvm.runtime.reconstruction.gaussians import gaussians
from sam_tvm.runtime.reconstruction.ply import PROPERTIES, write_ply
from sam_tvm.runtime.reconstruction.settings import GaussianSettings

RESOLUTION = 16
SETTINGS = {
    "published": GaussianSettings(),
    "other values": GaussianSettings(0.01, 0.2, 0.001),
}
EACH = {"32 each": 32, "4 each": 4}


@pytest.fixture(scope="module")
def represented(reference):
    """Make Gaussians with the reference's decoder; returns its object and what it holds."""
    from sam3d_objects.model.backbone.tdfy_dit.models.structured_latent_vae.decoder_gs import (
        SLatGaussianDecoderTdfyWrapper,
    )
    from sam3d_objects.model.backbone.tdfy_dit.modules.sparse import SparseTensor

    def make(settings: GaussianSettings, each: int, count: int = 200):
        rates = {"_xyz": 1.0, "_features_dc": 1.0, "_opacity": 1.0, "_scaling": 1.0}
        decoder = SLatGaussianDecoderTdfyWrapper(
            resolution=RESOLUTION,
            model_channels=32,
            latent_channels=8,
            num_blocks=1,
            num_heads=1,
            representation_config={
                "lr": {**rates, "_rotation": 0.1},
                "perturb_offset": True,
                "voxel_size": 1.5,
                "num_gaussians": each,
                "2d_filter_kernel_size": 0.1,
                "3d_filter_kernel_size": settings.least_scale,
                "scaling_bias": settings.scaling_bias,
                "opacity_bias": settings.opacity_bias,
                "scaling_activation": "softplus",
            },
        )
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(count, decoder.out_channels, generator=generator) * 1.5
        coords = torch.randint(0, RESOLUTION, (count, 4), dtype=torch.int32, generator=generator)
        coords[:, 0] = 0  # the picture's number
        held = decoder.to_representation(SparseTensor(features, coords))[0]
        outputs = {
            "xyz": held._xyz.reshape(count, each, 3),
            "features_dc": held._features_dc.reshape(count, each, 1, 3),
            "scaling": held._scaling.reshape(count, each, 3),
            "rotation": held._rotation.reshape(count, each, 4),
            "opacity": held._opacity.reshape(count, each, 1),
        }
        return held, {name: value.numpy() for name, value in outputs.items()}

    return make


def drawn(rng, count: int = 50, each: int = 4) -> dict[str, np.ndarray]:
    """Draw a decoder's outputs."""
    widths = {"features_dc": (1, 3), "scaling": (3,), "rotation": (4,), "opacity": (1,)}
    return {
        "xyz": rng.random((count, each, 3), np.float32),
        **{name: rng.standard_normal((count, each, *w), np.float32) for name, w in widths.items()},
    }


@pytest.mark.parametrize("each", EACH.values(), ids=EACH)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_gaussians_equal_the_reference(represented, settings, each):
    expected, outputs = represented(settings, each)
    actual = gaussians(outputs, settings)
    assert len(actual) == 200 * each
    pairs = {
        "positions": (actual.positions, expected.get_xyz),
        "dc": (actual.dc, expected.get_features[:, 0]),
        "opacities": (actual.opacities(), expected.get_opacity[:, 0]),
        "scales": (actual.scales, expected.get_scaling),
        "rotations": (actual.rotations, expected._rotation + expected.rots_bias),
    }
    for name, (mine, theirs) in pairs.items():
        assert mine.dtype == np.float32
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-5, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_file_equals_the_reference_s(represented, tmp_path, settings):
    expected, outputs = represented(settings, 8)
    expected.save_ply(tmp_path / "theirs.ply")
    write_ply(tmp_path / "ours.ply", gaussians(outputs, settings))
    theirs = plyfile.PlyData.read(tmp_path / "theirs.ply")
    ours = plyfile.PlyData.read(tmp_path / "ours.ply")
    assert ours.header == theirs.header
    for name in PROPERTIES:
        mine, wanted = ours["vertex"][name], theirs["vertex"][name]
        np.testing.assert_allclose(mine, wanted, rtol=2e-5, atol=2e-6, err_msg=name)


def test_the_reference_loads_the_file(represented, tmp_path):
    settings = SETTINGS["published"]
    expected, outputs = represented(settings, 8)
    write_ply(tmp_path / "ours.ply", gaussians(outputs, settings))
    loaded, _ = represented(settings, 8, count=1)
    loaded.device = "cpu"
    loaded.load_ply(tmp_path / "ours.ply")
    for name in ("get_xyz", "get_features", "get_scaling", "get_opacity", "get_rotation"):
        mine, wanted = getattr(loaded, name).numpy(), getattr(expected, name).numpy()
        np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-6, err_msg=name)


def test_another_library_opens_the_file(rng, tmp_path):
    made = gaussians(drawn(rng), SETTINGS["published"])
    write_ply(tmp_path / "gaussians.ply", made)
    np.testing.assert_allclose(trimesh.load(tmp_path / "gaussians.ply").vertices, made.positions)


def test_an_opaque_gaussian_is_written_with_a_finite_logit(rng, tmp_path):
    outputs = drawn(rng)
    outputs["opacity"][:] = 50  # in float32 its opacity is 1
    write_ply(tmp_path / "gaussians.ply", gaussians(outputs, SETTINGS["published"]))
    data = plyfile.PlyData.read(tmp_path / "gaussians.ply")["vertex"]["opacity"]
    np.testing.assert_allclose(data, 50 + np.log(0.1 / 0.9), rtol=1e-6)


def test_outputs_of_zero_are_what_the_settings_say(rng):
    made = gaussians({name: 0 * value for name, value in drawn(rng).items()}, SETTINGS["published"])
    np.testing.assert_allclose(made.positions, -0.5)
    np.testing.assert_allclose(made.colours(), 0.5)
    np.testing.assert_allclose(made.opacities(), 0.1, rtol=1e-6)
    np.testing.assert_allclose(made.scales, np.hypot(0.004, 0.0009), rtol=1e-6)
    np.testing.assert_array_equal(made.rotations, np.eye(4)[np.zeros(len(made), int)])


def test_outputs_that_do_not_fit_are_refused(rng):
    outputs = drawn(rng)
    with pytest.raises(ValueError, match="'scaling' is missing"):
        gaussians(
            {name: value for name, value in outputs.items() if name != "scaling"},
            SETTINGS["published"],
        )
    for change in (lambda value: value[1:], lambda value: value[..., 1:]):
        with pytest.raises(ValueError, match="'rotation' is of shape"):
            gaussians({**outputs, "rotation": change(outputs["rotation"])}, SETTINGS["published"])
