"""The command line: results, and one clear line for everything that cannot be used."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_tvm.cli import COMMANDS, main
from sam_tvm.runtime.manifest import render, seal


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def segment(photo, tmp_path):
    """Run `sam-tvm segment` on the photo, into the folder `out`."""

    def call(*arguments: str, picture=photo) -> int:
        return main(["segment", str(picture), "--out", str(tmp_path / "out"), *arguments])

    return call


def assert_refused(capsys, tmp_path, status: int, message: str) -> None:
    output, errors = capsys.readouterr()
    assert status == 2
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == "sam-tvm 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["segment"], "photo"),
        (["segment", "x.png", "--text", "a"], "--out"),
        (["info"], "bundle"),
        (["info", "nowhere"], "no bundle folder at nowhere"),
        (["port", "--preset", "huge"], "huge"),
        (["port", "--what"], "--what"),
        (["verify", "--only", "nose"], "nose"),
    ],
)
def test_wrong_arguments_are_refused(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, tmp_path, main(arguments), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to look for"),
        (["--text", ""], "--text is empty"),
        (["--text", " \t"], "--text is empty"),
        (["--box", "1,2,3"], "must be X0,Y0,X1,Y1"),
        (["--box", "1,2,3,x"], "must be X0,Y0,X1,Y1"),
        (["--box", "1,2,3,nan"], "must be X0,Y0,X1,Y1"),
        (["--box", "1,2,30,40,maybe"], "no label 'maybe'"),
        (["--box", "30,2,10,40"], "left of and above"),
        (["--box", "10,40,30,40"], "left of and above"),
        (["--box", "10,10,81,40"], "outside the picture, 80 x 60"),
        (["--box", "200,200,300,300"], "outside the picture, 80 x 60"),
        (["--box=-1,2,10,20"], "outside the picture, 80 x 60"),
        (["--point", "5"], "must be X,Y"),
        (["--point", "5,5,2"], "no label '2'"),
        (["--point", "5,61"], "outside the picture, 80 x 60"),
        (["--text", "a", "--threshold", "2"], "--threshold must lie in 0 to 1"),
        (["--text", "a", "--threshold", "nan"], "--threshold must lie in 0 to 1"),
        (["--text", "a", "--threshold", "high"], "--threshold"),
        (["--text", "a", "--threads", "0"], "--threads"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(capsys, tmp_path, segment, arguments, message):
    status = segment("--bundle", str(tmp_path), *arguments)
    assert_refused(capsys, tmp_path, status, message)


def test_without_a_bundle_it_says_how_to_make_one(capsys, tmp_path, segment, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(capsys, tmp_path, segment("--text", "a cat"), "sam-tvm port")


def test_a_picture_that_is_text_is_refused(capsys, tmp_path, segment):
    (tmp_path / "photo.jpg").write_text("no picture")
    status = segment("--bundle", str(tmp_path), "--text", "a", picture=tmp_path / "photo.jpg")
    assert_refused(capsys, tmp_path, status, "no picture format")


def test_a_missing_picture_is_refused(capsys, tmp_path, segment):
    status = segment("--bundle", str(tmp_path), "--text", "a", picture=tmp_path / "none.jpg")
    assert_refused(capsys, tmp_path, status, "no picture at")


def test_a_folder_that_is_no_bundle_is_refused(capsys, tmp_path, segment):
    assert_refused(
        capsys, tmp_path, segment("--bundle", str(tmp_path), "--text", "a"), "is no bundle"
    )


def test_an_over_long_prompt_is_refused(capsys, tmp_path, segment, bundle):
    status = segment("--bundle", str(bundle), "--text", "a very red cat " * 667)
    assert_refused(capsys, tmp_path, status, "make it shorter")


def test_a_bundle_with_a_flipped_byte_is_refused(capsys, tmp_path, segment, bundle):
    broken = shutil.copytree(bundle, tmp_path / "broken")
    path = broken / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    status = segment("--bundle", str(broken), "--text", "a cat")
    assert_refused(capsys, tmp_path, status, "wrong SHA-256")


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"instructions": ["avx9", "sse3"]}, "built for a CPU with avx9, which this one lacks"),
        ({"architecture": "pdp11"}, "built for pdp11, this CPU is "),
    ],
)
def test_a_bundle_for_another_cpu_is_refused(capsys, tmp_path, segment, bundle, needs, message):
    other = shutil.copytree(bundle, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["cpu"] |= needs
    (other / "manifest.json").write_text(render(seal(manifest)))
    status = segment("--bundle", str(other), "--text", "a cat")
    assert_refused(capsys, tmp_path, status, message)


def test_an_output_folder_that_is_a_file_is_refused(capsys, tmp_path, photo):
    arguments = ["--bundle", str(tmp_path), "--text", "a", "--out", str(photo)]
    status = main(["segment", str(photo), *arguments])
    assert_refused(capsys, tmp_path, status, "is a file")


def test_no_write_permission_is_one_line(capsys, tmp_path, photo, bundle):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere, but not make folders in sysfs
        folder = Path("/sys")
    arguments = ["--bundle", str(bundle), "--text", "a", "--out", str(folder / "out")]
    status = main(["segment", str(photo), *arguments])
    assert_refused(capsys, folder, status, str(folder / "out"))


def test_an_interrupt_is_one_line(capsys, tmp_path, segment, monkeypatch):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam_tvm.segment_command.open_image", interrupted)
    assert segment("--bundle", str(tmp_path), "--text", "a") == 2
    assert capsys.readouterr().err == "interrupted\n"
    assert not (tmp_path / "out").exists()


def test_segment_writes_overlay_masks_and_json(capsys, tmp_path, segment, bundle):
    status = segment(
        *("--bundle", str(bundle), "--text", "a cat", "--text", "a dog"),
        *("--box", "10,10,50,40", "--box", "60,5,80,60,0", "--point", "30,30,positive"),
        *("--threshold", "0.0"),
    )
    assert status == 0
    assert '"a cat": ' in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["picture"] == {"file": str(tmp_path / "photo.png"), "width": 80, "height": 60}
    assert [entry["text"] for entry in result["prompts"]] == ["a cat", "a dog"]
    for entry in result["prompts"]:
        assert entry["boxes"][1] == {"box": [60, 5, 80, 60], "wanted": False}
        assert entry["points"] == [{"point": [30, 30], "wanted": True}]
        assert entry["found"]
        for found in entry["found"]:
            mask = Image.open(tmp_path / "out" / found["mask"])
            assert mask.size == (80, 60)
            assert np.asarray(mask).sum() == found["area"]
    assert Image.open(tmp_path / "out" / "overlay.png").size == (80, 60)


@pytest.mark.parametrize("size", [(1, 1), (10, 20000), (20000, 10)])
def test_extreme_pictures_are_segmented(tmp_path, segment, bundle, size):
    Image.new("L", size, 90).save(tmp_path / "extreme.png")
    arguments = ("--bundle", str(bundle), "--text", "a", "--threshold", "0.2")
    assert segment(*arguments, picture=tmp_path / "extreme.png") == 0
    assert Image.open(tmp_path / "out" / "overlay.png").size == size


def test_a_turned_photo_is_noted_and_turned_on_request(capsys, tmp_path, segment, bundle):
    picture = Image.new("RGB", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    arguments = ("--bundle", str(bundle), "--point", "5,5")
    assert segment(*arguments, picture=tmp_path / "turned.jpg") == 0
    assert "--upright" in capsys.readouterr().err
    assert Image.open(tmp_path / "out" / "overlay.png").size == (40, 20)
    assert segment(*arguments, "--upright", picture=tmp_path / "turned.jpg") == 0
    assert capsys.readouterr().err == ""
    assert Image.open(tmp_path / "out" / "overlay.png").size == (20, 40)


def test_info_describes_a_bundle(capsys, bundle):
    assert main(["info", str(bundle)]) == 0
    text = capsys.readouterr().out
    for part in ("sam3, preset tiny", "encode_image", "encode_text", "ground", "weights from"):
        assert part in text
