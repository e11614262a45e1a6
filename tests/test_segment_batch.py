"""A batch of pictures: killed and resumed, with bad files among them, read back by pycocotools."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from sam_tvm.cli import main
from sam_tvm.scenes.drawing import draw_scene

PHRASES = ("a shape", "red circle")
TEXTS = tuple(part for phrase in PHRASES for part in ("--text", phrase))


def save_scene(path: Path, seed: int) -> None:
    """A drawn scene, cut so that it is no square."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(48, 96))
    image = draw_scene(rng, side, most=3).image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[: side - int(rng.integers(1, 12))]).save(path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three pictures, one of them in a folder of its own, and a file that is none."""
    folder = tmp_path / "pictures"
    for seed, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        save_scene(folder / name, seed)
    (folder / "notes.md").write_text("no picture, and not named like one")
    return folder


@pytest.fixture
def segment(bundle, tmp_path):
    """Run `sam-tvm segment` with two texts, into the folder `out`."""

    def call(*arguments: str) -> int:
        fixed = ["--bundle", str(bundle), "--out", str(tmp_path / "out"), "--threshold", "0.2"]
        return main(["segment", *arguments, *TEXTS, *fixed])

    return call


def index(folder: Path) -> list[dict]:
    """The pictures' lines."""
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()][1:]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_a_folder_gives_cocos_json_overlays_and_an_index(pictures, segment, tmp_path, capsys):
    assert segment(str(pictures)) == 0
    assert "3 pictures segmented, 0 skipped" in capsys.readouterr().out
    out = tmp_path / "out"
    assert names(out / "overlays") == ["a.png.png", "b.jpg.png", "more/c.png.png"]
    assert names(out / "annotations") == ["a.png.json", "b.jpg.json", "more/c.png.json"]
    assert [(line["name"], line["status"]) for line in index(out)] == [
        ("a.png", "done"),
        ("b.jpg", "done"),
        ("more/c.png", "done"),
    ]
    merged = COCO(str(out / "coco.json"))
    assert [image["file_name"] for image in merged.imgs.values()] == [
        "a.png",
        "b.jpg",
        "more/c.png",
    ]
    assert {category["name"] for category in merged.cats.values()} == set(PHRASES)
    assert len(merged.anns) == sum(sum(line["found"]) for line in index(out)) > 0


def test_the_masks_are_those_of_the_single_picture(pictures, segment, tmp_path):
    assert segment(str(pictures)) == 0
    shutil.move(tmp_path / "out", tmp_path / "batch")
    assert segment(str(pictures / "a.png")) == 0
    single = json.loads((tmp_path / "out" / "result.json").read_text())
    of_picture = COCO(str(tmp_path / "batch" / "annotations" / "a.png.json"))
    annotations = list(of_picture.anns.values())
    found = [entry for prompt in single["prompts"] for entry in prompt["found"]]
    assert len(annotations) == len(found)
    for ours, expected in zip(annotations, found, strict=True):
        mask = np.asarray(Image.open(tmp_path / "out" / expected["mask"]))
        np.testing.assert_array_equal(of_picture.annToMask(ours), mask)
        assert (ours["area"], ours["score"]) == (expected["area"], expected["score"])
        x, y, width, height = ours["bbox"]
        np.testing.assert_allclose([x, y, x + width, y + height], expected["box"], atol=2e-3)


def test_a_bad_picture_is_reported_and_skipped_and_tried_again(
    pictures, segment, tmp_path, capsys, contents
):
    data = (pictures / "b.jpg").read_bytes()
    (pictures / "b.jpg").write_bytes(data[: len(data) // 2])
    assert segment(str(pictures)) == 1
    output, errors = capsys.readouterr()
    assert "2 pictures segmented, 1 skipped" in output
    assert "b.jpg cannot be read as a picture" in output
    assert "skipped: " in errors
    assert [line["status"] for line in index(tmp_path / "out")] == ["done", "failed", "done"]
    before = contents(tmp_path / "out" / "annotations")
    (pictures / "b.jpg").write_bytes(data)
    assert segment(str(pictures)) == 0
    assert "1 pictures segmented, 2 were done before, 0 skipped" in capsys.readouterr().out
    after = contents(tmp_path / "out" / "annotations")
    assert after.keys() - before.keys() == {"b.jpg.json"}
    assert before.items() <= after.items()


def test_a_changed_picture_is_done_again_and_the_others_are_not(
    pictures, segment, tmp_path, capsys
):
    assert segment(str(pictures)) == 0
    save_scene(pictures / "a.png", 9)
    assert segment(str(pictures)) == 0
    assert "1 pictures segmented, 2 were done before" in capsys.readouterr().out
    image = json.loads((tmp_path / "out" / "annotations" / "a.png.json").read_text())["images"][0]
    assert (image["width"], image["height"]) == Image.open(pictures / "a.png").size


def test_results_of_other_settings_are_not_mixed(pictures, segment, tmp_path, capsys):
    assert segment(str(pictures)) == 0
    capsys.readouterr()
    assert segment(str(pictures), "--text", "a bird") == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: the results in ")
    assert (
        'made with texts ["a shape", "red circle"], not ["a bird", "a shape", "red circle"]'
        in errors
    )
    assert "--overwrite" in errors
    assert segment(str(pictures), "--text", "a bird", "--overwrite") == 0
    assert "3 pictures segmented, 0 skipped" in capsys.readouterr().out


def test_a_half_written_line_of_the_index_is_dropped(pictures, segment, tmp_path, capsys):
    assert segment(str(pictures)) == 0
    path = tmp_path / "out" / "index.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert segment(str(pictures)) == 0
    assert "1 pictures segmented, 2 were done before" in capsys.readouterr().out
    assert len(index(tmp_path / "out")) == 3


def test_a_damaged_index_is_refused(pictures, segment, tmp_path, capsys):
    assert segment(str(pictures)) == 0
    (tmp_path / "out" / "index.jsonl").write_text("{no json}\n")
    assert segment(str(pictures)) == 2
    assert "is damaged" in capsys.readouterr().err


def test_patterns_lists_and_several_names_are_batches(pictures, segment, tmp_path, capsys):
    listing = pictures / "list.txt"
    listing.write_text("# two of them\nb.jpg\n\nmore/c.png\n")
    given = (
        ([str(pictures / "*.png")], ["a.png"]),
        ([str(pictures / "**" / "*.png")], ["a.png", "more/c.png"]),
        ([str(listing)], ["b.jpg", "more/c.png"]),
        ([str(pictures / "a.png"), str(pictures / "b.jpg")], ["a.png", "b.jpg"]),
    )
    for inputs, expected in given:
        assert segment(*inputs, "--no-overlays", "--overwrite") == 0
        assert [line["name"] for line in index(tmp_path / "out")] == expected
        assert not (tmp_path / "out" / "overlays").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3,4"], "--box and --point belong to one picture"),
        (["--point", "1,2"], "--box and --point belong to one picture"),
    ],
)
def test_prompts_of_one_picture_are_refused(
    pictures, segment, tmp_path, capsys, arguments, message
):
    assert segment(str(pictures), *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["empty", "empty/*.png", "none.txt"])
def test_no_pictures_is_one_line(segment, tmp_path, capsys, given):
    (tmp_path / "empty").mkdir()
    assert segment(str(tmp_path / given)) == 2
    assert capsys.readouterr().err.startswith("error: no ")
    assert not (tmp_path / "out").exists()


def test_results_inside_the_pictures_folder_are_not_taken_for_pictures(pictures, bundle, capsys):
    arguments = ["segment", str(pictures), *TEXTS, "--bundle", str(bundle)]
    for expected in ("3 pictures segmented, 0 skipped", "0 pictures segmented, 3 were done before"):
        assert main([*arguments, "--out", str(pictures / "results")]) == 0
        assert expected in capsys.readouterr().out


def test_a_killed_and_interrupted_batch_is_resumed_without_loss_or_repetition(bundle, tmp_path):
    count, corrupt = 40, "011.png"
    for number in range(count):
        save_scene(tmp_path / "pictures" / f"{number:03}.png", number)
    (tmp_path / "pictures" / corrupt).write_bytes(b"\x89PNG\r\n\x1a\nand nothing more")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sam_tvm.cli", "segment", str(tmp_path / "pictures"), *TEXTS]
    command += ["--bundle", str(bundle), "--out", str(out), "--threshold", "0.4"]
    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 2)):
        known = len(index(out)) if out.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and not (
            (out / "index.jsonl").exists() and len(index(out)) > known + 3
        ):
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait() == status
        process.communicate()
    written = {path: path.stat().st_mtime_ns for path in (out / "annotations").iterdir()}
    assert 0 < len(written) < count - 1, "it was not killed in the middle"
    assert not (out / "coco.json").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{count - 1 - len(written)} pictures segmented, {len(written)} were done" in done.stdout
    assert corrupt in done.stdout
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in written.items())
    lines = index(out)
    assert sorted(line["name"] for line in lines) == [f"{n:03}.png" for n in range(count)]
    assert [line["name"] for line in lines if line["status"] == "failed"] == [corrupt]
    assert len(COCO(str(out / "coco.json")).imgs) == count - 1
    assert list(out.rglob(".partial*")) == []
