"""The scripts: what they do again, what they leave out, and what their exit status says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from sam_tvm import components
from sam_tvm.pipeline import commands, export, files, importing, weights
from sam_tvm.pipeline.importing import UnsupportedOperatorsError, import_program
from sam_tvm.pipeline.report import read_report
from sam_tvm.pipeline.weights_file import write_safetensors

ALL = [component.name for component in components.components()]
SMALL, OTHER = "scoring_head", "text_encoder"  # ported fastest

STAGES = {
    "01_export.py": ("export", ALL),
    "02_import.py": ("import", ALL),
    "03_build.py": ("build", [*ALL, "sam3_end_to_end", "sam3d_end_to_end"]),
    "04_bundle.py": ("bundle", ["sam3-llvm-float32", "sam3d-llvm-float32"]),
}


@pytest.mark.parametrize("script", STAGES)
def test_a_stage_that_is_up_to_date_is_skipped(ported, run_script, contents, capsys, script):
    before = contents(ported.folder)
    assert run_script(script, "--artifacts", str(ported.artifacts)) == 0
    title, names = STAGES[script]
    assert capsys.readouterr().out.splitlines() == [f"{title} {name}: current" for name in names]
    assert contents(ported.folder) == before


@pytest.mark.parametrize("script", ["01_export.py", "02_import.py", "03_build.py"])
def test_only_the_named_components_are_worked_on(ported, run_script, capsys, script):
    arguments = ("--artifacts", str(ported.artifacts), "--only", OTHER, SMALL, OTHER)
    assert run_script(script, *arguments) == 0
    title, _ = STAGES[script]
    output = capsys.readouterr()
    assert output.out.splitlines() == [f"{title} {name}: current" for name in (OTHER, SMALL)]
    assert "2/2" in output.err  # the progress bar


def test_only_makes_the_named_components_and_what_is_made_is_reproducible(
    ported, run_script, capsys, tmp_path
):
    """Exported, imported and built anew, the component has the bytes of the first time."""
    arguments = ("--artifacts", str(tmp_path), "--only", SMALL)
    for script in ("01_export.py", "02_import.py", "03_build.py"):
        assert run_script(script, *arguments) == 0
        assert capsys.readouterr().out == f"{STAGES[script][0]} {SMALL}: done\n"
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == [SMALL]
    component = components.select([SMALL])[0]
    ours = replace(ported, artifacts=tmp_path).store(component)
    for name in (importing.MODULE, importing.PARAMS):
        made = [
            store.record(importing.STAGE)["files"][name]
            for store in (ours, ported.store(component))
        ]
        assert made[0] == made[1], name


@pytest.mark.parametrize(
    ("script", "earlier"),
    [
        ("02_import.py", "01_export.py"),
        ("03_build.py", "02_import.py"),
        ("04_bundle.py", "03_build.py"),
    ],
)
def test_a_stage_before_its_turn_fails_and_names_the_script_to_run(
    run_script, capsys, tmp_path, script, earlier
):
    assert run_script(script, "--artifacts", str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(STAGES[script][1])
    assert all("FAILED" in line and f"run scripts/{earlier} first" in line for line in lines)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_drop_deletes_the_exported_program_and_later_stages_still_run(copied, run_script, capsys):
    job = copied(SMALL, "reference")
    (job.folder / SMALL / importing.MODULE).unlink()
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script("02_import.py", *arguments, "--drop") == 0
    assert not (job.folder / SMALL / export.EXPORTED).exists()
    capsys.readouterr()
    for script in ("01_export.py", "02_import.py", "03_build.py"):
        assert run_script(script, *arguments) == 0
        assert capsys.readouterr().out == f"{STAGES[script][0]} {SMALL}: current\n"
    assert run_script("verify_components.py", *arguments) == 0


def test_verify_passes_and_reports_the_named_components_alone(copied, run_script, capsys):
    job = copied(SMALL, "reference")
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script("verify_components.py", *arguments) == 0
    assert f"verify {SMALL}: passed\n" in capsys.readouterr().out
    assert [entry["name"] for entry in read_report(job)["components"]] == [SMALL]


def test_verify_fails_where_outputs_are_wrong(copied, run_script, capsys):
    """One weight is off by a thousandth, in a file that is what its manifest says."""
    job = copied(SMALL, OTHER, "reference")
    store = job.store(components.select([SMALL])[0])
    stage, name = weights.stage_name(job), f"{job.build_name}/{weights.PARAMS}"
    path = store.folder / name
    params = {name: np.array(value) for name, value in load_file(path).items()}
    (packed,) = [name for name in params if name.startswith("dot_prod_scoring.hs_proj.weight@")]
    params[packed][0, 3, 5] += 1e-3
    write_safetensors(path, params)
    manifest = store.manifest
    manifest["stages"][stage]["files"][name] = files.describe(path)
    files.write_json(store.folder / "manifest.json", manifest)

    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL, OTHER)
    assert run_script("verify_components.py", *arguments) == 1
    output = capsys.readouterr().out
    assert f"verify {SMALL}: FAILED" in output
    assert f"verify {OTHER}: passed" in output
    entries = {entry["name"]: entry for entry in read_report(job)["components"]}
    assert entries[OTHER]["passed"]
    assert not entries[SMALL]["passed"]
    wrong = [row for row in entries[SMALL]["outputs"] if row["passed_by"] is None]
    assert {row["name"] for row in wrong} == {"pred_logits"}
    assert all(row["max_abs_error"] > 1e-5 for row in wrong)


@pytest.mark.parametrize("damage", ["missing", "corrupt"])
def test_verify_fails_where_a_library_is_missing_or_corrupt(copied, run_script, capsys, damage):
    job = copied(SMALL, "reference")
    (library,) = (job.folder / SMALL / job.build_name).glob("lib-*.so")
    if damage == "missing":
        library.unlink()
    else:
        library.write_bytes(library.read_bytes()[::-1])
    arguments = ("--artifacts", str(job.artifacts), "--only", SMALL)
    assert run_script("verify_components.py", *arguments) == 1
    reason = {"missing": "is gone: run scripts/03_build.py", "corrupt": "is corrupt"}[damage]
    assert reason in capsys.readouterr().out
    (entry,) = read_report(job)["components"]
    assert not entry["passed"]
    assert reason in entry["error"]


def test_run_end_to_end_passes_on_the_port(ported, run_script, capsys):
    assert run_script("run_end_to_end.py", "--artifacts", str(ported.artifacts)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.endswith(": passed") for line in lines[:-1])
    assert str(ported.folder / "end_to_end") in lines[-1]
    result = json.loads((ported.folder / "end_to_end" / "text" / "result.json").read_text())
    assert result["prompts"][0]["found"]


def test_a_component_that_fails_is_reported_and_the_port_goes_on(copied, capsys, monkeypatch):
    """The report says what failed, and still holds the components that work."""
    job = replace(copied(SMALL, OTHER, "reference"), components=components.select([SMALL, OTHER]))
    for file in (job.folder / SMALL).glob("*.*"):
        file.unlink()

    def fails(*_):
        raise ValueError("no export today")

    monkeypatch.setattr(export, "export_program", fails)
    stages = [stage for stage in commands.STAGES if stage is not commands.end_to_end]
    monkeypatch.setattr(commands, "STAGES", stages)
    assert commands.port(job) == 1
    output = capsys.readouterr().out
    assert f"export {SMALL}: FAILED  ValueError: no export today" in output
    assert f"verify {OTHER}: passed" in output
    passed = {entry["name"]: entry["passed"] for entry in read_report(job)["components"]}
    assert passed == {SMALL: False, OTHER: True}


class Unsupported(torch.nn.Module):
    """Operators of three kinds that TVM's importer lacks."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.fft.rfft(x).real, torch.bincount(x.flatten().long()), torch.nonzero(x), x + 1


NEEDED = ("_fft_r2c", "bincount", "nonzero")


@pytest.fixture(scope="module")
def unsupported_program():
    return torch.export.export(Unsupported(), (torch.ones(4, 4),), strict=False)


def test_all_unsupported_operators_are_named_with_their_patch_files(unsupported_program):
    with pytest.raises(UnsupportedOperatorsError) as caught:
        import_program(unsupported_program, (), "unsupported")
    message = str(caught.value)
    assert all(f"{name}.default (patches/importer/{name}.py)" in message for name in NEEDED)
    assert "add" not in message
    assert "\n" not in message


def test_an_import_that_lacks_operators_fails_with_their_names(
    job, run_script, capsys, tmp_path, unsupported_program
):
    store = replace(job, artifacts=tmp_path).store(components.select([SMALL])[0])

    def make(folder):
        export.save_program(unsupported_program, folder / export.EXPORTED)
        return {}

    store.commit(export.STAGE, "key", make, {})
    assert run_script("02_import.py", "--artifacts", str(tmp_path), "--only", SMALL) == 1
    output = capsys.readouterr().out
    assert f"import {SMALL}: FAILED  UnsupportedOperatorsError" in output
    assert all(f"patches/importer/{name}.py" in output for name in NEEDED)
    assert store.record(importing.STAGE) is None


def test_update_todo_writes_the_table(ported, run_script, tmp_path):
    path = tmp_path / "TODO.md"
    arguments = ("--artifacts", str(ported.artifacts), "--file", str(path))
    assert run_script("update_todo.py", *arguments) == 2  # there is no such file
    path.write_text("before\n<!-- port: begin -->\n<!-- port: end -->\nafter\n")
    assert run_script("update_todo.py", *arguments) == 0
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    row = next(line for line in lines if line.startswith(f"| {SMALL} |"))
    assert row.startswith(f"| {SMALL} | x | x | x | x |")


def test_the_readmes_pictures_are_drawn_from_the_overlays(ported, run_script, tmp_path):
    arguments = ("--artifacts", str(ported.artifacts), "--out", str(tmp_path))
    assert run_script("draw_readme_picture.py", *arguments) == 0
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(tmp_path / "segmented.png") as row:
        assert row.width > 3 * drawn.width
        assert row.height > drawn.height


def test_without_overlays_there_is_no_picture_for_the_readme(run_script, tmp_path, capsys):
    arguments = ("--artifacts", str(tmp_path), "--out", str(tmp_path / "pictures"))
    assert run_script("draw_readme_picture.py", *arguments) == 2
    assert "run make port first" in capsys.readouterr().err
    assert not (tmp_path / "pictures").exists()
