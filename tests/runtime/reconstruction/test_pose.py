"""Pose latents become the pose that the reference's decoder gives."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sam_tvm.runtime.reconstruction.pose import (
    Pose,
    decode_pose,
    matrix_to_quaternion,
    quaternion_to_matrix,
)

SHAPES = {"6drotation_normalized": 6, "translation": 3, "scale": 3, "translation_scale": 1}


def latents(rng) -> dict[str, np.ndarray]:
    return {name: rng.standard_normal((1, 1, n)).astype(np.float32) for name, n in SHAPES.items()}


def rotations(count: int) -> np.ndarray:
    """Quaternions with the real part first, half turns among them."""
    half_turns = np.concatenate([np.eye(4)[:, [3, 0, 1, 2]], np.full((1, 4), 0.5)])
    drawn = Rotation.random(count, random_state=0).as_quat()[:, [3, 0, 1, 2]]
    return np.concatenate([half_turns, drawn])


def test_poses_equal_the_reference(reference, rng):
    decode = reference.pose_decoder()
    for _ in range(50):
        made = latents(rng)
        scale = np.full(3, rng.uniform(0.2, 5), np.float32)
        shift = rng.normal(size=3).astype(np.float32)
        expected = decode(
            {
                "shape": torch.zeros(1, 64, 8),
                **{name: torch.from_numpy(value) for name, value in made.items()},
            },
            scene_scale=torch.from_numpy(scale)[None],
            scene_shift=torch.from_numpy(shift)[None],
        )
        pose = decode_pose(made, scale, shift)
        for name in ("rotation", "translation", "scale"):
            value = getattr(pose, name)
            assert value.dtype == np.float32
            np.testing.assert_allclose(
                value, expected[name][0].numpy(), rtol=2e-6, atol=2e-6, err_msg=name
            )


def test_the_matrix_moves_points_as_the_reference_composes_them(reference, rng):
    transforms = reference.take(
        "data/dataset/tdfy/transforms_3d.py",
        "compose_transform",
        torch=torch,
        Transform3d=reference.pose_target.Transform3d,
    )
    to_matrix = reference.pose_target.quaternion_to_matrix
    for _ in range(20):
        pose = decode_pose(latents(rng), np.full(3, 0.7, np.float32), np.ones(3, np.float32))
        points = rng.standard_normal((10, 3)).astype(np.float32)
        theirs = transforms["compose_transform"](
            torch.from_numpy(pose.scale)[None],
            to_matrix(torch.from_numpy(pose.rotation))[None],
            torch.from_numpy(pose.translation)[None],
        ).transform_points(torch.from_numpy(points))
        ours = (pose.matrix() @ np.c_[points, np.ones(10)].T).T[:, :3]
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-5)


def test_quaternions_and_matrices_agree_with_scipy(reference):
    for quaternion in rotations(200):
        expected = Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()
        np.testing.assert_allclose(quaternion_to_matrix(quaternion), expected, atol=1e-12)
        back = matrix_to_quaternion(expected)
        assert back[0] >= 0
        np.testing.assert_allclose(quaternion_to_matrix(back), expected, atol=1e-12)
        # So do the ones that stand in for pytorch3d's.
        theirs = reference.pose_target.quaternion_to_matrix(torch.from_numpy(quaternion))
        np.testing.assert_allclose(theirs.numpy(), expected, atol=1e-12)
        theirs = reference.pose_target.matrix_to_quaternion(torch.from_numpy(expected))
        np.testing.assert_allclose(quaternion_to_matrix(theirs.numpy()), expected, atol=1e-12)


def test_a_coarser_grid_makes_the_object_larger():
    pose = Pose(np.array([1, 0, 0, 0], np.float32), np.ones(3, np.float32), np.ones(3, np.float32))
    larger = pose.rescaled(2)
    np.testing.assert_array_equal(larger.scale, [2, 2, 2])
    np.testing.assert_array_equal(larger.translation, pose.translation)


def test_a_rotation_that_says_nothing_stays_finite():
    made = {name: np.zeros((1, 1, width), np.float32) for name, width in SHAPES.items()}
    pose = decode_pose(made, np.ones(3), np.zeros(3))
    assert np.linalg.norm(pose.rotation) == pytest.approx(1)
    np.testing.assert_allclose(pose.scale, 1)
