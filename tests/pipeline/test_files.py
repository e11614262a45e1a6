import json

import pytest

from sam_tvm.pipeline import files


def test_text_is_whole_or_what_it_was(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    files.write_text(path, "first")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        files.write_text(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_staging_folder_is_gone_after_an_interrupt(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        files.staging_directory(tmp_path, "export") as staging,
    ):
        (staging / "half").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_staging_folder_of_a_killed_run_is_removed(tmp_path):
    stale = tmp_path / ".export.killed"
    stale.mkdir()
    (stale / "half").write_text("half")
    with files.staging_directory(tmp_path, "export"):
        assert not stale.exists()


def test_source_hash_sees_contents_and_names(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = files.hash_sources(tmp_path)
    (tmp_path / "a.py").write_text("x = 2\n")
    second = files.hash_sources(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, files.hash_sources(tmp_path)}) == 3


def test_json_is_written_indented(tmp_path):
    files.write_json(tmp_path / "value.json", {"a": [1, 2]})
    text = (tmp_path / "value.json").read_text()
    assert json.loads(text) == {"a": [1, 2]}
    assert "\n  " in text
