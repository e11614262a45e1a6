"""`sam-tvm reconstruct`: files for an object, one line for what cannot be used."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from sam_tvm.cli import main


@pytest.fixture
def files(tmp_path):
    """A picture, a mask and a pointmap as files."""
    height, width = 80, 96
    y, x = np.mgrid[:height, :width].astype(np.float32)
    disc = (y - 40) ** 2 + (x - 50) ** 2 < 24**2
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = 3 + 0.01 * y - disc
    pointmap = np.stack([-(x - 48) / 80 * depth, -(y - 40) / 80 * depth, depth], axis=-1)
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "photo.png")
    Image.fromarray(disc).save(folder / "mask.png")
    np.save(folder / "pointmap.npy", pointmap)
    return folder


@pytest.fixture
def command(ported, files, tmp_path):
    """Run the command on the files; options replace the usual ones."""

    def call(**options: object) -> int:
        usual = {
            "mask": files / "mask.png",
            "pointmap": files / "pointmap.npy",
            "bundle": ported.bundle_folder("sam3d"),
            "segmenter": ported.bundle_folder("sam3"),
            "out": tmp_path / "out",
            "steps": 1,
        }
        given = {**usual, **options}
        arguments = [
            part
            for name, value in given.items()
            if value is not None
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        return main(["reconstruct", str(files / "photo.png"), *arguments])

    return call


@pytest.fixture
def refused(command, tmp_path, capfd):
    """Run what must be refused: one line, status 2, nothing written; returns the line."""

    def call(**options: object) -> str:
        capfd.readouterr()
        assert command(**options) == 2
        output, errors = capfd.readouterr()
        lines = [line for line in errors.splitlines() if line and "step/s" not in line]
        assert output == ""
        assert len(lines) == 1
        assert not (tmp_path / "out").exists()
        return lines[0]

    return call


def test_a_mask_becomes_an_objects_files(command, tmp_path, capsys):
    assert command() == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"gaussians.ply", "mesh.glb", "layout.json", "preview.png"}
    layout = json.loads((tmp_path / "out" / "layout.json").read_text())
    assert layout["bundle"]["model"] == "sam3d"
    assert "voxels" in capsys.readouterr().out


def test_a_text_takes_its_mask_from_the_segmenter(command, tmp_path):
    status = command(mask=None, text="a thing")
    if status == 2:  # random weights may find nothing above the threshold
        assert not (tmp_path / "out").exists()
    else:
        assert json.loads((tmp_path / "out" / "layout.json").read_text())["picture"]["text"]


def test_a_mask_of_another_size_is_refused(refused, files):
    Image.new("1", (10, 12), 1).save(files / "small.png")
    assert "10 x 12" in refused(mask=files / "small.png")


def test_an_empty_mask_is_refused(refused, files):
    Image.new("1", (96, 80), 0).save(files / "empty.png")
    assert "empty" in refused(mask=files / "empty.png")


def test_a_pointmap_with_nan_is_refused(refused, files):
    points = np.load(files / "pointmap.npy")
    points[3, 4, 1] = np.nan
    np.save(files / "nan.npy", points)
    assert "NaN at 1 pixels" in refused(pointmap=files / "nan.npy")


def test_without_a_pointmap_and_moge_the_line_says_what_to_do(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "moge", None)
    line = refused(pointmap=None)
    assert "--pointmap" in line
    assert "MoGe" in line


def test_moges_points_are_turned_into_the_models_frame(command, files, monkeypatch):
    """A stand-in for MoGe, which is on no registry: only how it is called is tested."""
    torch = pytest.importorskip("torch")
    points = np.load(files / "pointmap.npy").astype(np.float32) * [-1, -1, 1]
    called = {}

    class MoGeModel:
        @classmethod
        def from_pretrained(cls, name):
            called["name"] = name
            return cls()

        def eval(self):
            return self

        def infer(self, picture, force_projection):
            called["picture"], called["projection"] = picture, force_projection
            return {"points": torch.from_numpy(points.astype(np.float32))}

    module = types.ModuleType("moge.model.v1")
    module.MoGeModel = MoGeModel
    for name in ("moge", "moge.model"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "moge.model.v1", module)
    from sam_tvm.moge import moge_pointmap

    pixels = np.asarray(Image.open(files / "photo.png"))
    found = moge_pointmap(pixels)
    np.testing.assert_array_equal(found, np.load(files / "pointmap.npy").astype(np.float32))
    assert called["name"] == "Ruicheng/moge-vitl"
    assert called["projection"] is False
    np.testing.assert_allclose(
        called["picture"].numpy(), pixels.transpose(2, 0, 1) / 255, atol=1e-7
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": None}, "either --mask or --text"),
        ({"text": "a cup"}, "either --mask or --text"),
        ({"steps": 0}, "--steps must be at least 1"),
        ({"seed": -1}, "--seed"),
        ({"gaussians": 7}, "--gaussians"),
        ({"bundle": "nowhere"}, "nowhere"),
        ({"pointmap": "nowhere.npy"}, "nowhere.npy"),
        ({"mask": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_what_cannot_be_used_is_refused(refused, options, words):
    assert words in refused(**options)
