"""The start of a process up to its first mask, and bundles compared."""

import json

import pytest


@pytest.fixture
def artifacts(copied):
    """A copy of the tiny bundles, where reports may be written."""
    return copied("bundles").artifacts


def test_start_is_timed_with_a_bundle_and_with_pytorch(run_script, artifacts, capsys):
    arguments = ("--artifacts", str(artifacts), "--rounds", "1", "--threads", "1")
    assert run_script("benchmark_start.py", *arguments) == 0
    report = json.loads((artifacts / "tiny" / "start_report.json").read_text())
    ours, theirs = report["results"]
    assert (ours["name"], theirs["name"]) == ("sam3-llvm-float32", "PyTorch")
    assert ours["masks"] == theirs["masks"] > 0
    for row in (ours, theirs):
        parts = [row[f"{part}_s"] for part in ("imports", "model", "picture", "prompt")]
        assert all(part > 0 for part in parts)
        assert row["first_mask_s"] == pytest.approx(sum(parts))
    assert ours["peak_rss_gb"] < theirs["peak_rss_gb"]
    assert "| PyTorch |" in (artifacts / "tiny" / "start_report.md").read_text()
    assert "| sam3-llvm-float32 |" in capsys.readouterr().out
    assert sorted(p.name for p in (artifacts / "tiny").iterdir()) == [
        "bundles",
        "start_report.json",
        "start_report.md",
    ]


def test_a_bundle_compared_with_itself_finds_the_same_masks(run_script, artifacts, capsys):
    bundle = artifacts / "tiny" / "bundles" / "sam3-llvm-float32"
    arguments = ("--rounds", "1", "--threads", "1", "--text", "red circle")
    assert run_script("compare_bundles.py", str(bundle), str(bundle), *arguments) == 0
    first, second = json.loads((artifacts / "tiny" / "bundles_report.json").read_text())["results"]
    assert first["masks"] == second["masks"] > 0
    assert second["mask_iou_min"] == 1
    assert first["bytes"] == second["bytes"] > 10e6
    assert "least IoU" in capsys.readouterr().out


def test_other_models_and_missing_bundles_are_one_line(run_script, artifacts, capsys):
    bundles = artifacts / "tiny" / "bundles"
    assert run_script("compare_bundles.py", str(bundles / "sam3d-llvm-float32")) == 2
    assert capsys.readouterr().err.startswith("error: only bundles of SAM3")
    assert run_script("benchmark_start.py", "--bundle", str(bundles / "none")) == 2
    assert "no bundle folder" in capsys.readouterr().err
