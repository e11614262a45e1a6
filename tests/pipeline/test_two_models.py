"""Components of two models in one run: each model's own weights, keys, workers and entries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sam_tvm import components
from sam_tvm.models.source import WeightsSource
from sam_tvm.pipeline import export, keys, reference
from sam_tvm.pipeline.job import reference_versions
from sam_tvm.pipeline.recorded import with_recorded_weights
from sam_tvm.pipeline.report import read_report, report_path, update_report
from sam_tvm.pipeline.store import ArtifactError

HEAD, ENCODER, DECODER, GAUSSIANS = components.select(
    ["scoring_head", "text_encoder", "ss_decoder", "gs_decoder"]
)


@pytest.fixture
def small(job, tmp_path):
    """A job of both models without artifacts."""
    return replace(job, components=(HEAD, ENCODER, DECODER, GAUSSIANS), artifacts=tmp_path)


def record_export(job, component, sha256, seed=0, checkpoint=None):
    """Write what an export leaves of the weights."""

    def make(folder):
        weights = {"source": f"random, seed {seed}", "sha256": sha256, "ignored": {}}
        return {"weights": weights, "checkpoint": checkpoint, "seed": seed}

    job.store(component).commit(export.STAGE, "key", make, {})


def test_each_model_has_weights_of_its_own(small):
    given = replace(small, checkpoint=Path("sam3.pt"), checkpoint_3d=Path("hf"), seed=2)
    assert given.models == ("sam3", "sam3d")
    assert given.components_of("sam3d") == (DECODER, GAUSSIANS)
    assert given.source("sam3") == WeightsSource(Path("sam3.pt"), 2)
    assert given.source("sam3d") == WeightsSource(Path("hf"), 2)
    recorded = replace(given, recorded={"sam3d": WeightsSource(seed=5)})
    assert recorded.source("sam3") == given.source("sam3")
    assert recorded.source("sam3d") == WeightsSource(None, 5)


def test_weights_are_recorded_by_model(small):
    record_export(small, HEAD, "a", seed=0)
    record_export(small, DECODER, "b", seed=3)
    recorded = with_recorded_weights(small)
    assert recorded.source("sam3").seed == 0
    assert recorded.source("sam3d").seed == 3


def test_a_model_that_was_not_exported_keeps_what_was_asked_for(small):
    record_export(small, DECODER, "b", seed=3)
    recorded = with_recorded_weights(replace(small, seed=7))
    assert (recorded.source("sam3").seed, recorded.source("sam3d").seed) == (7, 3)
    with pytest.raises(ArtifactError, match=r"run scripts/01_export.py first"):
        with_recorded_weights(replace(small, components=(HEAD,)))


def test_components_of_one_model_from_different_weights_are_refused(small):
    record_export(small, DECODER, "b")
    record_export(small, GAUSSIANS, "c")
    with pytest.raises(ArtifactError, match="stem from different weights"):
        with_recorded_weights(small)


def test_a_checkpoint_folder_that_is_gone_is_noticed(small, tmp_path):
    record_export(small, DECODER, "b", checkpoint=str(tmp_path / "hf"))
    with pytest.raises(ArtifactError, match="is gone"):
        with_recorded_weights(small)


def test_keys_of_a_model_do_not_depend_on_the_others_sources():
    ours, theirs = keys.model_sources("sam3"), keys.model_sources("sam3d")
    assert {"components/sam3", "models/sam3"} <= set(ours)
    assert {"components/sam3d", "models/sam3d", "runtime/sparse"} <= set(theirs)
    assert not {"components/sam3d", "models/sam3d", "runtime/sparse"} & set(ours)
    assert not {"components/sam3", "models/sam3"} & set(theirs)
    for name in ("components/base.py", "components/inputs.py", "models/referee.py"):
        assert name in ours
        assert name in theirs
    assert all((keys.PACKAGE / name).exists() for name in (*ours, *theirs) if "patches" not in name)


def test_versions_are_those_of_the_models_reference():
    assert reference_versions("sam3").keys() == {"torch", "torchvision", "sam3"}
    assert {"sam3d", "spconv"} <= reference_versions("sam3d").keys()
    assert "sam3" not in reference_versions("sam3d")


def asked(small, monkeypatch, precision):
    """What workers are started for, by the component's names, and the variables they get."""
    started = []

    def run_workers(calls, count):
        for call in calls:
            model, names = call.request["model"], call.request["components"]
            started.append((model, names, call.environment))
            path = Path(call.request["result"])
            path.parent.mkdir(parents=True, exist_ok=True)
            failed = {"gs_decoder": "no today"} if "gs_decoder" in names else {}
            path.write_text(json.dumps({"weights": {"source": model}, "errors": failed}))

    monkeypatch.setattr(reference, "run_workers", run_workers)
    return reference.ask(small, small.components, precision)[precision], started


def test_spconv_runs_in_a_process_with_one_thread(small, monkeypatch):
    answer, started = asked(small, monkeypatch, "float32")
    assert started == [
        ("sam3", ["scoring_head", "text_encoder"], {}),
        ("sam3d", ["ss_decoder"], {}),
        ("sam3d", ["gs_decoder"], {"OMP_NUM_THREADS": "1"}),
    ]
    assert answer.weights == {"sam3": {"source": "sam3"}, "sam3d": {"source": "sam3d"}}
    assert answer.errors == {"gs_decoder": "no today"}


def test_the_referee_has_all_threads(small, monkeypatch):
    _, started = asked(small, monkeypatch, "float64")
    assert [environment for _, _, environment in started] == [{}, {}]
    assert started[1][1] == ["ss_decoder", "gs_decoder"]


def test_new_weights_of_a_model_drop_its_entries_alone(small):
    def entry(component):
        return {
            "name": component.name,
            "model": component.model,
            "passed": True,
            "error": None,
            "outputs": [],
        }

    former = {"sam3": {"sha256": "a"}, "sam3d": {"sha256": "b"}}
    entries = [entry(component) for component in small.components]
    update_report(small, components=entries, weights=former)
    update_report(small, components=[entry(DECODER)], weights={"sam3d": {"sha256": "c"}})
    report = read_report(small)
    names = [entry["name"] for entry in report["components"]]
    assert names == ["scoring_head", "text_encoder", "ss_decoder"]
    assert report["weights"] == {"sam3": {"sha256": "a"}, "sam3d": {"sha256": "c"}}
    assert {"sam3", "sam3d"} <= report["versions"].keys()
    assert report_path(small).with_suffix(".md").is_file()
