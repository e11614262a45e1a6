"""Pointmaps: normalised as the reference does it, and refused where they cannot be used."""

import numpy as np
import pytest
import torch

from sam_tvm.runtime.errors import PointmapError
from sam_tvm.runtime.reconstruction.pointmap import (
    from_opencv_camera,
    normalise,
    read_pointmap,
    to_planes,
)


@pytest.mark.parametrize("missing", [0.0, 0.3], ids=["whole", "gaps"])
@pytest.mark.parametrize("size", [(40, 60), (41, 33)])
def test_normalisation_equals_the_reference(reference, scene, rng, size, missing):
    made = scene(*size, seed=3)
    points = made.pointmap.copy()
    points[rng.random(size) < missing] = np.inf
    planes = to_planes(points, *size)
    expected = reference.transforms.ObjectCentricSSI(
        use_scene_scale=True, allow_scale_and_shift_override=True
    ).normalize(torch.from_numpy(planes), torch.from_numpy(made.mask).float()[None])
    actual = normalise(planes, made.mask)
    np.testing.assert_array_equal(actual.shift, expected.shift.numpy())
    np.testing.assert_array_equal(actual.scale, expected.scale.numpy())
    assert np.isnan(actual.points).mean() == pytest.approx(missing, abs=0.05)
    # The reference multiplies by an inverted matrix, so it loses what shift / scale is above 1.
    np.testing.assert_allclose(actual.points, expected.pointmap.numpy(), rtol=1e-6, atol=2e-6)


def test_another_size_is_sampled_as_the_reference_does_it(scene):
    points = scene(30, 44, seed=0).pointmap
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(points).permute(2, 0, 1)[None], size=(75, 110), mode="nearest"
    )
    np.testing.assert_array_equal(to_planes(points, 75, 110), resized[0].numpy())


def test_opencv_points_are_turned_about_the_viewing_axis():
    np.testing.assert_array_equal(
        from_opencv_camera(np.array([[[1.0, 2.0, 3.0]]])), [[[-1, -2, 3]]]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points[..., :2], r"must be floating-point of shape \(height, width, 3\)"),
        (lambda points: points.astype(np.int32), "must be floating-point"),
        (lambda points: points[:0], "must be floating-point"),
        (lambda points: points[:, :20], "not of the same view"),
        (lambda points: np.where(points > 0, points, np.nan), "has NaN at [0-9]+ pixels"),
    ],
    ids=["shape", "type", "empty", "aspect", "NaN"],
)
def test_a_pointmap_that_does_not_fit_is_refused(scene, change, message):
    with pytest.raises(PointmapError, match=message) as caught:
        to_planes(change(scene(40, 60, seed=0).pointmap), 40, 60)
    assert "\n" not in str(caught.value)


def test_an_object_without_depth_is_refused(scene):
    made = scene(40, 60, seed=0)
    made.pointmap[made.mask] = np.inf
    with pytest.raises(PointmapError, match="no depth at any pixel of the mask"):
        normalise(to_planes(made.pointmap, 40, 60), made.mask)


def test_a_scene_without_extent_is_refused(scene):
    made = scene(40, 60, seed=0)
    with pytest.raises(PointmapError, match="coincide"):
        normalise(np.ones((3, 40, 60), np.float32), made.mask)


def test_files_are_read_or_refused(tmp_path, scene):
    points = scene(4, 6, seed=0).pointmap
    np.save(tmp_path / "points.npy", points)
    np.savez(tmp_path / "points.npz", points=points)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    np.testing.assert_array_equal(read_pointmap(tmp_path / "points.npy"), points)
    for name, message in {
        "points.npz": "archive",
        "objects.npy": "cannot be read",
        "text.npy": "cannot be read",
        "empty.npy": "cannot be read",
        "missing.npy": "no pointmap at",
    }.items():
        with pytest.raises(PointmapError, match=message) as caught:
            read_pointmap(tmp_path / name)
        assert "\n" not in str(caught.value)
