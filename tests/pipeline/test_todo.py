import pytest

from sam_tvm import components
from sam_tvm.pipeline.todo import BEGIN, END, update_todo
from sam_tvm.runtime.errors import UserError


def test_table_has_every_component_and_what_the_port_has_done(tmp_path, ported):
    path = tmp_path / "TODO.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_todo(path, ported)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    for component in components.components():
        assert f"| {component.name} | x | x | x | x |" in text
    for model in components.MODELS:
        assert f"| {model} end to end | - | - | x | x |" in text


def test_nothing_done_leaves_the_cells_open(tmp_path, job):
    from dataclasses import replace

    path = tmp_path / "TODO.md"
    path.write_text(f"{BEGIN}{END}")
    update_todo(path, replace(job, artifacts=tmp_path / "none"))
    assert "| scoring_head |   |   |   |   |   |" in path.read_text()


def test_file_without_markers_is_refused(tmp_path, job):
    (tmp_path / "TODO.md").write_text("no table here")
    with pytest.raises(UserError, match="port: begin"):
        update_todo(tmp_path / "TODO.md", job)
