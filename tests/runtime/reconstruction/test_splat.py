"""The renderer blends Gaussians as the formulas say, however it divides the work."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from sam_tvm.runtime.reconstruction import splat
from sam_tvm.runtime.reconstruction.gaussians import Gaussians
from sam_tvm.runtime.reconstruction.preview import preview, write_preview
from sam_tvm.runtime.reconstruction.splat import View, render

SIZE = 48


def cloud(count: int, seed: int, size: float = 0.03) -> Gaussians:
    rng = np.random.default_rng(seed)
    return Gaussians(
        positions=rng.uniform(-0.5, 0.5, (count, 3)).astype(np.float32),
        dc=rng.normal(0, 1, (count, 3)).astype(np.float32),
        opacity_logits=rng.normal(0, 2, count).astype(np.float32),
        scales=rng.uniform(size / 5, size, (count, 3)).astype(np.float32),
        rotations=rng.normal(size=(count, 4)).astype(np.float32),
    )


def one(position, colour, opacity: float = 0.9, scale: float = 0.05) -> Gaussians:
    return Gaussians(
        positions=np.array([position], np.float32),
        dc=(np.array([colour], np.float32) - 0.5) / 0.28209479177387814,
        opacity_logits=np.array([np.log(opacity / (1 - opacity))], np.float32),
        scales=np.full((1, 3), scale, np.float32),
        rotations=np.array([[1, 0, 0, 0]], np.float32),
    )


def joined(*parts: Gaussians) -> Gaussians:
    names = ("positions", "dc", "opacity_logits", "scales", "rotations")
    return Gaussians(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def rendered_one_by_one(gaussians: Gaussians, view: View, size: int) -> np.ndarray:
    """Blend back to front, a picture per Gaussian, with scipy's rotations: slow and plain."""
    yaw, pitch = np.radians([view.yaw, view.pitch])
    eye = view.distance * np.array(
        [np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
    )
    forward = -eye / view.distance
    right = np.cross(forward, [0, 0, 1]) / np.linalg.norm(np.cross(forward, [0, 0, 1]))
    axes = np.array([right, np.cross(forward, right), forward])
    focal = size / 2 / np.tan(np.radians(view.field) / 2)
    y, x = np.mgrid[:size, :size] + 0.5
    picture = np.ones((size, size, 3))
    points = (gaussians.positions - eye) @ axes.T
    for index in np.argsort(-points[:, 2]):
        px, py, pz = points[index]
        quaternion = gaussians.rotations[index][[1, 2, 3, 0]]
        turn = Rotation.from_quat(quaternion).as_matrix()
        spread = turn @ np.diag(gaussians.scales[index] ** 2) @ turn.T
        slope = np.array(
            [[focal / pz, 0, -focal * px / pz**2], [0, focal / pz, -focal * py / pz**2]]
        )
        flat = slope @ axes @ spread @ axes.T @ slope.T + 0.3 * np.eye(2)
        away = np.stack([x - focal * px / pz - size / 2, y - focal * py / pz - size / 2])
        power = -0.5 * np.einsum("iyx,ij,jyx->yx", away, np.linalg.inv(flat), away)
        alpha = np.minimum(gaussians.opacities()[index] * np.exp(power), 0.99)
        alpha[alpha < 1 / 255] = 0
        picture += alpha[..., None] * (gaussians.colours()[index] - picture)
    return picture * 255


@pytest.mark.parametrize("view", [View(0), View(130, -35), View(250, 60, 1.5, 60)])
@pytest.mark.parametrize("count", [1, 200])
def test_pictures_equal_the_plain_formula(count, view):
    gaussians = cloud(count, seed=count, size=0.1)
    actual = render(gaussians, view, SIZE)
    # What lies behind something opaque is left out, which may cost a rounding.
    assert abs(actual - rendered_one_by_one(gaussians, view, SIZE)).max() < 0.9


def test_the_picture_does_not_depend_on_how_the_work_is_divided(monkeypatch):
    gaussians = cloud(3000, seed=1)
    whole = render(gaussians, View(40), SIZE)
    for fragments in (1, 100, 5000):
        monkeypatch.setattr(splat, "_FRAGMENTS", fragments)
        assert abs(render(gaussians, View(40), SIZE).astype(int) - whole).max() <= 1


def test_the_nearer_of_two_covers_the_other():
    red, blue = (one([0, y, 0], colour) for y, colour in ((0.3, [1, 0, 0]), (-0.3, [0, 0, 1])))
    both = joined(red, blue)
    front = render(both, View(0, 0), SIZE)[SIZE // 2, SIZE // 2].astype(int)
    back = render(both, View(180, 0), SIZE)[SIZE // 2, SIZE // 2].astype(int)
    assert front[0] > 200 > 60 > front[2] and back[2] > 200 > 60 > back[0]


def test_up_is_up_and_the_camera_s_right_is_right():
    above = np.argwhere(render(one([0, 0, 0.4], [0, 0, 0]), View(0, 0), SIZE)[:, :, 0] < 128)
    assert above[:, 0].max() < SIZE / 2
    # The camera stands at +y and looks along -y, so -x is to its right.
    beside = np.argwhere(render(one([-0.4, 0, 0], [0, 0, 0]), View(0, 0), SIZE)[:, :, 0] < 128)
    assert beside[:, 1].min() > SIZE / 2


def test_nothing_to_see_is_background():
    behind = one([0, 5, 0], [0, 0, 0])
    faint = one([0, 0, 0], [0, 0, 0], opacity=0.001)
    beside = one([5, 0, 0], [0, 0, 0])
    for gaussians in (behind, faint, beside, cloud(0, seed=0)):
        assert (render(gaussians, View(0, 0), SIZE, background=0.5) == 128).all()


def test_the_preview_is_a_png_of_the_views_side_by_side(tmp_path):
    gaussians = cloud(300, seed=2)
    write_preview(tmp_path / "preview.png", gaussians, size=SIZE)
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.format == "PNG" and picture.size == (4 * SIZE, SIZE)
        np.testing.assert_array_equal(np.asarray(picture), preview(gaussians, SIZE))
    views = (View(10), View(20))
    strip = preview(gaussians, SIZE, views)
    np.testing.assert_array_equal(strip[:, SIZE:], render(gaussians, views[1], SIZE))
