"""Result files: complete, replaced as a whole, nothing half-written."""

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_tvm.runtime.draw import Finding
from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.results import check_output_folder, write_results


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def finding(count: int, text: str = "a cat") -> Finding:
    rng = np.random.default_rng(count)
    masks = rng.integers(0, 2, (count, 1, 40, 60)).astype(bool)
    boxes = rng.uniform(0, 40, (count, 4)).astype(np.float32)
    scores = rng.uniform(0.5, 1, count).astype(np.float32)
    return Finding(
        text, [((1.0, 2.0, 3.0, 4.5), False)], [((5.0, 6.0), True)], masks, boxes, scores
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def test_the_files_hold_what_was_found(tmp_path):
    found = finding(3)
    write_results(tmp_path / "new" / "out", noise(40, 60), [found], {"threshold": 0.5})
    folder = tmp_path / "new" / "out"
    result = json.loads((folder / "result.json").read_text())
    assert result["threshold"] == 0.5
    (entry,) = result["prompts"]
    assert entry["text"] == "a cat"
    assert entry["boxes"] == [{"box": [1.0, 2.0, 3.0, 4.5], "wanted": False}]
    assert entry["points"] == [{"point": [5.0, 6.0], "wanted": True}]
    for number, row in enumerate(entry["found"]):
        mask = np.asarray(Image.open(folder / row["mask"]))
        np.testing.assert_array_equal(mask, found.masks[number, 0])
        assert row["area"] == mask.sum()
        np.testing.assert_allclose(row["score"], found.scores[number], atol=1e-6)
        np.testing.assert_allclose(row["box"], found.found[number], atol=1e-3)
    assert Image.open(folder / "overlay.png").size == (60, 40)
    assert len(files(folder)) == 5


def test_an_earlier_result_is_replaced_and_other_files_are_kept(tmp_path):
    write_results(tmp_path, noise(40, 60), [finding(4)], {})
    (tmp_path / "masks" / "mine.png").write_bytes(b"kept")
    write_results(tmp_path, noise(40, 60), [finding(1), finding(1, "a dog")], {})
    assert files(tmp_path) == {
        "overlay.png",
        "result.json",
        "masks/1-000.png",
        "masks/2-000.png",
        "masks/mine.png",
    }


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    write_results(tmp_path / "before", noise(40, 60), [finding(2)], {})
    before = {
        name: (tmp_path / "before" / name).read_bytes() for name in files(tmp_path / "before")
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # a file can grow no further
    try:
        for folder in ("before", "new"):
            with pytest.raises(OSError, match="too large"):
                write_results(tmp_path / folder, noise(40, 60), [finding(1)], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "new").exists()
    assert contents(tmp_path / "before") == before


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sam_tvm.runtime.results.draw_overlay", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_results(tmp_path / "out", noise(40, 60), [finding(1)], {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="is a file"):
        check_output_folder(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="no permission"):
        check_output_folder(tmp_path / "deep" / "out")


def test_a_writable_folder_is_not_made_by_the_check(tmp_path):
    check_output_folder(tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []
