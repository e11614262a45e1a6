"""Bundles with int8 weights, and bundles in an archive, from the pipeline to the runtime."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from sam_tvm import components
from sam_tvm.cli import main
from sam_tvm.pipeline import commands
from sam_tvm.pipeline.detections import OF_RANDOM_WEIGHTS, OF_REAL_WEIGHTS, Detections
from sam_tvm.pipeline.report import read_report
from sam_tvm.pipeline.rounded_weights import MIN_MEAN_IOU, compare_rounded
from sam_tvm.runtime import Segmenter
from sam_tvm.runtime.info import describe
from sam_tvm.runtime.manifest import read_manifest, verify_files


@pytest.fixture(scope="module")
def rounded(ported):
    """The job of SAM3's int8 bundle, after it was bundled; what is up to date is taken as it is."""
    job = replace(ported, weights="int8", components=components.components("sam3"))
    assert commands.bundle(job) == 0
    return job


def sizes(folder) -> dict[str, int]:
    """Bytes of a bundle's weights by element type."""
    found: dict[str, int] = {}
    with safe_open(folder / "weights.safetensors", framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118 (no mapping)
            array = weights.get_tensor(name)
            found[array.dtype.name] = found.get(array.dtype.name, 0) + array.nbytes
    return found


def transformed_size(folder) -> int:
    """Bytes of a bundle's 3x3 weights that lie transformed, as 4x4: [panels, 16, slices, C, w]."""
    with safe_open(folder / "weights.safetensors", framework="np") as weights:
        arrays = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118 (no mapping)
    return sum(a.nbytes for a in arrays if a.ndim == 5 and a.shape[1] == 16)


def test_matrices_are_stored_as_int8(rounded, bundle):
    ours, floats = sizes(rounded.bundle_folder("sam3")), sizes(bundle)
    assert "int8" not in floats
    assert transformed_size(bundle) and not transformed_size(rounded.bundle_folder("sam3"))
    # Convolutions are float32 in both, but 9/16 as large where they are not transformed.
    moved = floats["float32"] - ours["float32"] - transformed_size(bundle) * 7 // 16
    assert moved > 0.3 * floats["float32"]  # more than half are the embeddings of tokens
    # A quarter of what they were, plus the scales, which the float32 sum has.
    assert ours["int8"] == pytest.approx(moved / 4, rel=0.05)


def test_manifest_says_so_and_the_float_bundle_stays(rounded, bundle):
    manifest = read_manifest(rounded.bundle_folder("sam3"))
    verify_files(manifest)
    assert manifest.folder.name == "sam3-llvm-float32-int8"
    assert "float32, weights of int8" in describe(manifest)
    assert "weights of int8" not in describe(read_manifest(bundle))


def test_features_are_those_of_float32_but_for_the_rounding(rounded, bundle):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    features = []
    for folder in (bundle, rounded.bundle_folder("sam3")):
        state = Segmenter.load(folder).set_image(picture)
        features.append(state["backbone_out"]["fpn_2"].astype(np.float64))
    error = np.linalg.norm(features[1] - features[0]) / np.linalg.norm(features[0])
    assert 1e-5 < error < 0.05


def test_masks_overlap_with_those_of_pytorch(rounded):
    assert commands.end_to_end(rounded) == 0
    rows = read_report(rounded)["end_to_end"]
    assert all(row["passed"] for row in rows)
    drawn = [row for row in rows if row["case"].startswith("drawn")]
    assert len(drawn) == 3
    assert all(row["mask_iou_mean"] >= MIN_MEAN_IOU for row in drawn)
    assert min(row["mask_iou_min"] for row in rows) < 1, "nothing was rounded"


def test_masks_that_do_not_overlap_fail():
    masks = np.zeros((6, 8, 8), bool)
    masks[:, :4] = True
    boxes, scores = np.zeros((6, 4), np.float32), np.ones(6, np.float32)
    reference = Detections(masks, boxes, scores)
    assert compare_rounded(reference, reference, OF_RANDOM_WEIGHTS)["passed"]
    for wrong in (Detections(~masks, boxes, scores), Detections(masks[:0], boxes[:0], scores[:0])):
        row = compare_rounded(wrong, reference, OF_RANDOM_WEIGHTS)
        assert not row["passed"]
        assert row["mask_iou_mean"] == 0
        assert "overlap" in row["reason"]


def test_masks_that_pytorch_is_not_sure_of_may_be_lost():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4], masks[1, 4:] = True, True
    boxes, scores = np.zeros((2, 4), np.float32), np.float32([0.9, 0.1])
    reference = Detections(masks, boxes, scores)
    for kept, passes in ((slice(0, 1), True), (slice(1, 2), False)):
        ours = Detections(masks[kept], boxes[kept], scores[kept])
        row = compare_rounded(ours, reference, OF_REAL_WEIGHTS)
        assert row["passed"] == passes
        assert row["mask_iou_mean"] == 0.5


@pytest.mark.parametrize("arguments", [["--stock"], ["--precision", "bfloat16"]])
def test_other_builds_have_no_rounded_weights(capsys, tmp_path, arguments):
    given = ["bundle", "--weights", "int8", "--artifacts", str(tmp_path)]
    assert main([*given, *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_archive_is_written_beside_the_folder_and_runs(copied, capsys):
    job = copied("bundles", "sam3_end_to_end", *(c.name for c in components.components("sam3")))
    folder = job.bundle_folder("sam3")
    path = folder.with_name("sam3-llvm-float32.tar")
    path.unlink(missing_ok=True)  # somebody may have made one
    arguments = ["bundle", "--artifacts", str(job.artifacts), "--archive", "--only"]
    arguments += [component.name for component in components.components("sam3")]
    assert main(arguments) == 0
    assert "bundle sam3-llvm-float32: done" in capsys.readouterr().out
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    results = []
    for bundle in (folder, path):
        segmenter = Segmenter.load(bundle, confidence_threshold=0.2)
        results.append(segmenter.set_text_prompt("a cat", segmenter.set_image(picture)))
    np.testing.assert_array_equal(results[0]["masks"], results[1]["masks"])
    assert main(arguments) == 0
    assert "bundle sam3-llvm-float32: current" in capsys.readouterr().out
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    shutil.rmtree(folder)  # it can be made again without it
    assert main(arguments) == 0
    assert path.read_bytes() == whole
    assert not folder.exists()
