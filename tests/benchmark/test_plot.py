import pytest

from sam_tvm.benchmark.plot import relative_times, write_plot


def test_bars_are_relative_to_eager_and_say_if_they_are_of_another_run(row):
    rows = [row(median_s=1.0), row(engine="eager", median_s=2.0), row("text_encoder")]
    rows.append(row(engine="openvino", median_s=3.0, run="2"))
    times = relative_times(rows)
    assert list(times) == ["scoring_head"]  # the other has nothing to be compared with
    bars = {name: (bar.height, bar.together) for name, bar in times["scoring_head"].items()}
    assert bars == {"tvm": (0.5, True), "eager": (1.0, True), "openvino": (1.5, False)}


def test_a_failed_engine_has_no_bar(row):
    rows = [row(), row(engine="eager"), row(engine="compile", median_s=None)]
    assert "compile" not in relative_times(rows)["scoring_head"]


def test_the_plot_is_a_picture_with_a_panel_for_each_precision(row, header, tmp_path):
    pytest.importorskip("matplotlib", reason="is in the bench extra")
    from PIL import Image

    path = tmp_path / "plot.png"
    rows = [row(), row(engine="eager")]
    assert write_plot(path, {**header(), "results": rows})
    one = Image.open(path).size
    rows += [{**each, "precision": "bfloat16"} for each in rows]
    assert write_plot(path, {**header(), "results": rows})
    two = Image.open(path).size
    assert (two[0], two[1]) == (one[0], 2 * one[1])
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_compare_makes_no_plot(row, header, tmp_path):
    pytest.importorskip("matplotlib", reason="is in the bench extra")
    assert not write_plot(tmp_path / "plot.png", {**header(), "results": [row()]})
    assert list(tmp_path.iterdir()) == []
