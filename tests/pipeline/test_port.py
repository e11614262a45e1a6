"""The whole port at the tiny preset: its report, its bundle, its composition."""

import json

import numpy as np
import pytest

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.components.sam3.end_to_end import CASES
from sam_tvm.pipeline.library import Library
from sam_tvm.pipeline.report import read_report
from sam_tvm.runtime.bundle import Bundle

REQUIRED_PROMPTS = {
    "text",
    "box",
    "negative_box",
    "point",
    "text_and_box",
    "two_texts_1",
    "two_texts_2",
    "empty",
}


@pytest.fixture(scope="module")
def report(ported):
    return read_report(ported)


def test_report_has_every_component_and_all_passed(report):
    entries = {entry["name"]: entry for entry in report["components"]}
    assert entries.keys() == {component.name for component in components.components()}
    for entry in entries.values():
        assert entry["passed"], entry
        assert entry["error"] is None


def test_report_has_every_case_and_output_of_each_component(report, ported):
    entries = {entry["name"]: entry for entry in report["components"]}
    for component in components.components():
        outputs = component.signature(ported.config(component)).outputs
        expected = {(case.name, spec.name) for case in component.cases for spec in outputs}
        rows = entries[component.name]["outputs"]
        assert {(row["case"], row["name"]) for row in rows} == expected
        assert all(row["passed_by"] in ("tolerance", "float64") for row in rows)


def test_report_has_the_contract_fields(report):
    assert report["tolerance"] == {"rtol": 1e-5, "atol": 1e-5}
    ours, theirs = {"torch", "apache-tvm", "apache-tvm-ffi"}, {"sam3", "sam3d", "spconv", "timm"}
    assert set(report["versions"]) == ours | theirs
    assert report["weights"].keys() == {"sam3", "sam3d"}
    assert all(len(weights["sha256"]) == 64 for weights in report["weights"].values())
    row = report["components"][0]["outputs"][0]
    assert {
        "case",
        "name",
        "passed_by",
        "shape",
        "dtype",
        "max_abs_error",
        "mean_abs_error",
        "max_rel_error",
        "within_tolerance",
        "error_vs_float64",
        "torch_error_vs_float64",
    } <= row.keys()


def test_every_end_to_end_case_passed_and_counts(report):
    rows = {row["case"]: row for row in report["end_to_end"] if row["model"] == "sam3"}
    assert rows.keys() >= REQUIRED_PROMPTS
    for name, row in rows.items():
        assert row["passed"], row
        assert row["same_detections"]
        assert row["detections"] == 0 if name == "empty" else 1 <= row["detections"] <= 100


def test_overlays_are_pictures_of_the_size_of_their_photo(ported):
    from PIL import Image

    from sam_tvm.pipeline.pictures import load_picture

    for case in CASES:
        with Image.open(ported.folder / "end_to_end" / case.name / "overlay.png") as overlay:
            assert overlay.size == load_picture(case.picture).size


def test_manifests_record_hashes_versions_and_shapes(ported):
    for component in components.components():
        manifest = json.loads((ported.store(component).folder / "manifest.json").read_text())
        assert {"export", "import", f"build/{ported.build_name}"} <= manifest["stages"].keys()
        for stage in manifest["stages"].values():
            assert all(len(entry["sha256"]) == 64 for entry in stage["files"].values())
            assert stage["versions"]
        assert [spec["name"] for spec in manifest["inputs"]]


def test_composed_ground_equals_its_components_called_in_order(ported, bundle):
    """Also proves that the prompts are independent: the composition runs with two at once."""
    rng = np.random.default_rng(5)
    config = ported.preset.sam3
    side, width, batch = config.grid_size, config.d_model, 2
    library = {c.name: Library(ported, c) for c in components.components("sam3")}
    geometry = components.select(["geometry_encoder"])[0]
    prompt_inputs = dict(list(make_inputs(geometry, config, geometry.cases[0]).items())[:6])
    maps = {
        f"fpn_{i}": rng.standard_normal((1, width, side * f, side * f), dtype=np.float32)
        for i, f in enumerate((4, 2, 1))
    }
    pos = rng.standard_normal((1, width, side, side), dtype=np.float32)
    text = rng.standard_normal((config.context_length, batch, width), dtype=np.float32)
    text_mask = np.arange(config.context_length)[None] >= np.array([[5], [9]])

    def tokens(feature_map):
        sequence = feature_map.reshape(1, width, -1).transpose(2, 0, 1)
        return np.ascontiguousarray(np.repeat(sequence, batch, axis=1))

    feats, positions = tokens(maps["fpn_2"]), tokens(pos)
    geo, geo_mask = library["geometry_encoder"](
        {**prompt_inputs, "img_feats": feats, "img_pos": positions}
    )
    prompt = {
        "prompt": np.concatenate([text, geo]),
        "prompt_mask": np.concatenate([text_mask, geo_mask], 1),
    }
    (memory,) = library["transformer_encoder"]({"src": feats, "pos": positions, **prompt})
    hs, boxes, presence = library["transformer_decoder"](
        {"memory": memory, "pos": positions, **prompt}
    )
    logits, pred_boxes = library["scoring_head"]({"hs": hs, "reference_boxes": boxes, **prompt})
    masks, semantic = library["segmentation_head"]({**maps, "hs": hs, "memory": memory, **prompt})

    outputs = Bundle.load(bundle).call(
        "ground",
        {
            **maps,
            "pos_2": pos,
            "language_features": text,
            "language_mask": text_mask,
            **prompt_inputs,
        },
    )
    expected = {
        "pred_logits": logits,
        "pred_boxes": pred_boxes,
        "pred_masks": masks,
        "semantic_seg": semantic,
        "presence_logit": presence[-1],
    }
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_bundle_holds_each_shared_parameter_once(bundle):
    from safetensors import safe_open

    with safe_open(bundle / "weights.safetensors", framework="np") as weights:
        names = list(weights.keys())
    assert len(names) == len(set(names))
    manifest = json.loads((bundle / "manifest.json").read_text())
    used = {name for f in manifest["functions"].values() for name in f["params"]}
    assert used == set(names)
    shared = "transformer.decoder.bbox_embed.layers.0.weight@"  # packed
    ground = manifest["functions"]["ground"]["params"]
    assert len([name for name in ground if name.startswith(shared)]) == 1
