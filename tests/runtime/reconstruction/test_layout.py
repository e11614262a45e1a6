"""The layout says where the object is, in numbers that another program can apply."""

import json

import numpy as np
import pytest

from sam_tvm.runtime.reconstruction.layout import layout, write_layout
from sam_tvm.runtime.reconstruction.mesh import OBJECT_TO_GLB
from sam_tvm.runtime.reconstruction.pose import Pose


@pytest.fixture
def pose():
    return Pose(
        rotation=np.array([0.5, 0.5, -0.5, 0.5], np.float32),
        translation=np.array([0.1, -2, 3], np.float32),
        scale=np.full(3, 0.7, np.float32),
    )


def test_what_is_read_back_is_the_pose(pose, tmp_path):
    write_layout(tmp_path / "layout.json", layout(pose, {"seed": 3}))
    read = json.loads((tmp_path / "layout.json").read_text())
    for name in ("rotation", "translation", "scale"):
        np.testing.assert_array_equal(np.float32(read[name]), getattr(pose, name))
    assert read["translation"] == [0.1, -2.0, 3.0]  # no digits that float32 does not have
    assert read["seed"] == 3


def test_both_matrices_bring_a_point_to_the_same_place(pose, rng):
    document = layout(pose, {})
    point = rng.normal(size=3)
    by_object = np.array(document["object_to_camera"]) @ [*point, 1]
    by_glb = np.array(document["glb_to_camera"]) @ [*(OBJECT_TO_GLB @ point), 1]
    np.testing.assert_allclose(by_object, by_glb, rtol=1e-5)
    np.testing.assert_allclose(by_object, pose.matrix() @ [*point, 1], rtol=1e-5)


def test_numbers_that_json_cannot_say_are_refused(pose, tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_layout(tmp_path / "layout.json", layout(pose, {"iou": float("nan")}))
    assert not (tmp_path / "layout.json").exists()
