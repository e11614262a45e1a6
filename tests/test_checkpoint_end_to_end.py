"""A checkpoint with weights of its own, from the file to detections, against `Sam3Processor`.

The reference process loads the file with `sam3`'s own function. The cases are those of the port:
pictures of several sizes and aspect ratios, grey and RGBA among them.
"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam_tvm import components
from sam_tvm.components.sam3.end_to_end import CASES
from sam_tvm.models.sam3.checkpoint import save_reference_checkpoint
from sam_tvm.models.sam3.weights import load_model
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import build, commands, end_to_end, importing, weights
from sam_tvm.pipeline.detections import MAX_BOX_ERROR_PX, MAX_SCORE_ERROR, MIN_MASK_IOU
from sam_tvm.pipeline.pictures import load_picture
from sam_tvm.pipeline.report import read_report

SEED = 1
# What the published file holds besides the image model.
UNUSED = {
    "tracker.maskmem_tpos_enc": torch.ones(7, 1, 1, 64),
    "tracker.transformer.encoder.layers.0.linear1.weight": torch.ones(4, 4),
    "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.weight": torch.ones(4, 4, 1, 1),
}


@pytest.fixture(scope="module")
def checkpoint(job, tmp_path_factory):
    """Weights of another seed, in the reference's format, with keys of the video model."""
    path = tmp_path_factory.mktemp("checkpoint") / "sam3.pt"
    with reference_environment():
        model, _ = load_model(job.preset, seed=SEED)
    save_reference_checkpoint(model, path)
    content = torch.load(path, weights_only=True)
    content["model"].update(UNUSED)
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def from_checkpoint(ported, checkpoint, tmp_path_factory):
    """The port with the checkpoint, all stages but the components' verification."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    shutil.copytree(ported.folder, artifacts / ported.preset.name)
    selected = components.components("sam3")
    job = replace(ported, artifacts=artifacts, components=selected, checkpoint=checkpoint)
    assert commands.export(job) == 0
    assert commands.import_(job) == 0
    return job


def test_modules_do_not_depend_on_the_weights_and_parameters_do(from_checkpoint, ported):
    for component in components.components("sam3"):
        ours, theirs = (
            job.store(component).record(importing.STAGE)["files"]
            for job in (from_checkpoint, ported)
        )
        assert ours[importing.MODULE] == theirs[importing.MODULE], component.name
        assert ours[importing.PARAMS]["bytes"] == theirs[importing.PARAMS]["bytes"]
        assert ours[importing.PARAMS]["sha256"] != theirs[importing.PARAMS]["sha256"]


def test_libraries_serve_other_weights(from_checkpoint, ported, capsys):
    """Only the parameters are packed again."""
    assert commands.build(from_checkpoint) == 0
    assert "build sam3_end_to_end: current" in capsys.readouterr().out.splitlines()
    for component in from_checkpoint.components:
        stages = [job.store(component).manifest["stages"] for job in (from_checkpoint, ported)]
        libraries, params = (
            [stage[name]["files"] for stage in stages]
            for name in (build.stage_name(ported), weights.stage_name(ported))
        )
        assert libraries[0] == libraries[1]
        assert params[0] != params[1]


@pytest.fixture(scope="module")
def compared(from_checkpoint):
    """The end-to-end run; as in later stages of the command line, the checkpoint is not named."""
    job = replace(from_checkpoint, checkpoint=None)
    assert commands.build(job) == 0
    assert commands.bundle(job) == 0
    return job, commands.end_to_end(job)


def test_detections_equal_the_processors(compared):
    job, status = compared
    entries = read_report(job)["end_to_end"]
    rows = {row["case"]: row for row in entries if row["model"] == "sam3"}
    assert status == 0, rows
    assert len(rows) >= len(CASES)
    for row in rows.values():
        assert row["same_detections"]
        assert row["mask_iou_min"] >= MIN_MASK_IOU == 0.999
        assert row["max_box_error_px"] <= MAX_BOX_ERROR_PX == 0.5
        assert row["max_score_error"] <= MAX_SCORE_ERROR == 1e-4
    assert sum(row["detections"] > 0 for row in rows.values()) >= len(rows) - 1  # one is empty


def test_pictures_are_of_several_sizes_shapes_and_modes():
    pictures = [load_picture(case.picture) for case in CASES]
    assert {picture.mode for picture in pictures} >= {"RGB", "L", "RGBA"}
    sizes = {picture.size for picture in pictures}
    assert len(sizes) >= 4
    assert len({round(width / height, 2) for width, height in sizes}) >= 2
    assert min(width / height for width, height in sizes) < 0.75
    assert max(width / height for width, height in sizes) > 1.4


def test_report_and_bundle_name_the_checkpoint(compared, checkpoint):
    job, _ = compared
    weights = read_report(job)["weights"]["sam3"]
    assert weights["source"] == checkpoint.name
    assert weights["ignored"] == {"tracker": 2, "sam2_convs": 1}
    text = (job.bundle_folder("sam3") / "manifest.json").read_text()
    assert weights["sha256"] in text


def reference_scores(job, case: str) -> np.ndarray:
    folder = job.folder / "reference" / "sam3_end_to_end"
    with np.load(folder / f"{case}_0.npz") as arrays:
        return arrays["scores"]


def test_the_two_checkpoints_find_different_things(compared, ported, bundle, capsys, monkeypatch):
    """Also that the comparison notices: the bundle of the other weights does not pass."""
    job, _ = compared
    for case in CASES:
        if not case.empty:
            best = [reference_scores(each, case.name).max() for each in (job, ported)]
            assert abs(best[0] - best[1]) > 1e-4, case.name
    monkeypatch.setattr(end_to_end, "CASES", CASES[:2])
    monkeypatch.setattr(type(job), "bundle_folder", lambda *_: bundle)
    assert commands.end_to_end(job) == 1
    assert capsys.readouterr().out.count("FAILED") == 2
