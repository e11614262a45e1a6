"""PyTorch and every bundle are asked the same questions, and both reports say how they answered."""

import json

import pytest

from sam_tvm.pipeline.quality import FILE, REFERENCE, measure
from sam_tvm.pipeline.report import as_markdown, read_report, update_report
from sam_tvm.runtime.errors import UserError
from sam_tvm.scenes.held_out import SEED


@pytest.fixture(scope="module")
def figures():
    return {"f1": 0.9, "mean_iou": 0.8, "absent_accuracy": 1.0}


def test_pytorch_and_the_bundle_answer_alike(copied):
    job = copied("bundles")
    content = measure(job, scenes=3, validation=2)
    assert (content["scenes"], content["seed"]) == (3, SEED)
    assert content["engines"]["tvm-float32"] == content["engines"][REFERENCE]
    assert content["engines"][REFERENCE]["f1"] > 0.5
    assert json.loads((job.folder / FILE).read_text()) == content
    assert read_report(job)["quality"] == content


def test_without_a_bundle_it_says_what_to_do(copied):
    with pytest.raises(UserError, match=r"there is no bundle .* run make port first"):
        measure(copied())


def test_the_report_keeps_what_was_measured_until_the_weights_change(copied, figures):
    job, content = copied(), {"scenes": 3, "seed": 1, "threshold": 0.5, "engines": {"a": figures}}
    weights = {"source": "one", "sha256": "1"}
    update_report(job, weights={"sam3": weights}, quality=content)
    kept = update_report(job, weights={"sam3": weights})
    assert "| a | 0.900 | 0.800 | 1.000 |" in as_markdown(kept)
    assert "quality" not in update_report(job, weights={"sam3": {**weights, "sha256": "2"}})
