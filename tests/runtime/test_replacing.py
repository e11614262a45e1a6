import stat

import pytest

from sam_tvm.runtime.replacing import replacing


@pytest.mark.parametrize(("mode", "content"), [("w", "äöü\n"), ("wb", b"\x00\xff")])
def test_a_file_takes_the_place_of_another_and_its_folder_is_made(tmp_path, mode, content):
    path = tmp_path / "new" / "file"
    for _ in range(2):
        with replacing(path, mode) as file:
            file.write(content)
    assert path.read_bytes() == (content if "b" in mode else content.encode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
