"""A training goes on from any moment as if nothing had happened, and its weights load."""

import json
import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from sam_tvm.models.sam3.build import build_model
from sam_tvm.models.sam3.checkpoint import load_checkpoint
from sam_tvm.runtime.errors import CheckpointError, UserError
from sam_tvm.training import command, trainer
from sam_tvm.training.checkpoints import HISTORY, STATE, append_history, read_history
from sam_tvm.training.model import EMBEDDING
from sam_tvm.training.trainer import Trainer


@pytest.fixture(scope="module", autouse=True)
def _environment(environment):
    """The model needs it to be built and run."""


@pytest.fixture(autouse=True)
def frequent(monkeypatch):
    """Log every step, validate every third on little."""
    monkeypatch.setattr(trainer, "LOG_STEPS", 1)
    monkeypatch.setattr(trainer, "VALIDATE_STEPS", 3)
    monkeypatch.setattr("sam_tvm.training.validation.BATCHES", 1)
    monkeypatch.setattr("sam_tvm.training.validation.SIZE", 3)


def after(recipe, folder, steps):
    """Take so many steps in a folder, and save."""
    training = Trainer(recipe, folder)
    wanted = training.progress.total_steps + steps
    training._run(lambda: training.progress.total_steps >= wanted)
    training.save()
    return training


@pytest.fixture(scope="module")
def uninterrupted(environment, small_recipe, tmp_path_factory):
    """Five steps: three of the first stage, two of the second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "LOG_STEPS", 1)
        patch.setattr(trainer, "VALIDATE_STEPS", 3)
        patch.setattr("sam_tvm.training.validation.BATCHES", 1)
        patch.setattr("sam_tvm.training.validation.SIZE", 3)
        return after(small_recipe, tmp_path_factory.mktemp("training"), 5)


def test_stages_follow_each_other(uninterrupted):
    history = read_history(uninterrupted.folder)
    assert [(e["kind"], e["stage"]) for e in history] == [
        *[("training", "dense")] * 3,
        ("validation", "dense"),
        *[("training", "detection")] * 2,
    ]
    assert {"shape", "colour", "alignment"} <= history[3].keys()
    assert {"score", "giou", "mask", "presence"} <= history[-1].keys()
    assert all(entry["loss"] > 0 for entry in history if entry["kind"] == "training")


def test_interrupted_training_goes_on_as_if_it_had_not_been(uninterrupted, small_recipe, tmp_path):
    for steps in (2, 2, 1):
        resumed = after(small_recipe, tmp_path, steps)
    for name, parameter in uninterrupted.parameters.items():
        assert torch.equal(parameter, resumed.parameters[name]), name
        average = uninterrupted.average.values[name]
        assert torch.equal(average, resumed.average.values[name]), name


def test_training_moves_every_part_of_the_model(uninterrupted, small_recipe, tmp_path):
    start = Trainer(small_recipe, tmp_path)
    moved = {
        name
        for name, parameter in uninterrupted.parameters.items()
        if not torch.equal(parameter, start.parameters[name])
    }
    still = uninterrupted.parameters.keys() - moved
    unused = (
        "pixel_decoder.conv_layers.2",
        "pixel_decoder.norms.2",
        "convs.3",
        "points_",
        "instance",
    )
    assert not [name for name in still if not any(part in name for part in unused)]


def test_request_to_end_saves_a_state(small_recipe, tmp_path):
    training = Trainer(small_recipe, tmp_path)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    training.run()
    assert (tmp_path / STATE).is_file()
    assert Trainer(small_recipe, tmp_path).progress.total_steps == training.progress.total_steps > 0


def test_steps_after_the_last_state_leave_the_history(small_recipe, tmp_path):
    after(small_recipe, tmp_path, 1)
    append_history(tmp_path, {"kind": "training", "total_steps": 2})
    with (tmp_path / HISTORY).open("a") as stream:
        stream.write('{"kind": "tra')  # killed while it wrote
    Trainer(small_recipe, tmp_path).run(minutes=0)
    assert [entry["total_steps"] for entry in read_history(tmp_path)] == [1]


def test_learning_rate_warms_up_stays_and_falls_when_asked(small_recipe, tmp_path):
    training = Trainer(small_recipe, tmp_path)
    with pytest.raises(UserError, match="dense has not ended"):
        training.run(minutes=0, decay_steps=10)
    rate, progress = training.stage.learning_rate, training.progress
    assert training.learning_rate() == pytest.approx(rate / training.stage.warm_up)
    progress.stage, progress.step = 1, 1000
    assert training.learning_rate() == rate
    training._plan_decay(100)
    progress.step += 75
    assert training.learning_rate() == pytest.approx(rate / 4)
    assert not training._decayed()
    progress.step += 25
    assert training._decayed()


def test_state_of_another_recipe_is_refused(uninterrupted, small_recipe):
    with pytest.raises(CheckpointError, match="another recipe"):
        Trainer(replace(small_recipe, seed=4), uninterrupted.folder)


def test_damaged_state_is_refused(small_recipe, tmp_path):
    (tmp_path / STATE).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        Trainer(small_recipe, tmp_path)


def test_exported_weights_load_as_a_checkpoint(uninterrupted, small_recipe, small_config):
    weights, curves = command.export_weights(uninterrupted.folder, small_recipe)
    assert weights.stat().st_size < 20e6
    assert curves.read_bytes().startswith(b"\x89PNG")
    model = build_model(small_config)
    assert load_checkpoint(model, weights) == {}
    state = model.state_dict()
    for name, value in uninterrupted.average.values.items():
        if name in state and name != EMBEDDING:
            assert torch.equal(state[name], value.half().float()), name
    known = uninterrupted.model.backbone.language_backbone.encoder.token_embedding
    row = known.rows[model.backbone.language_backbone.tokenizer(["circle"])[0, 1]]
    averaged = uninterrupted.average.values[EMBEDDING]
    token = model.backbone.language_backbone.tokenizer(["circle"])[0, 1]
    assert torch.equal(state[EMBEDDING][token], averaged[row].half().float())


def test_sam3_loads_the_exported_weights_alike(uninterrupted, small_recipe, small_config):
    from sam3.model.sam3_image_processor import Sam3Processor  # noqa: F401  (imports sam3 first)
    from sam3.model_builder import _load_checkpoint

    from sam_tvm.pipeline.reference_worker import torch_file

    weights, _ = command.export_weights(uninterrupted.folder, small_recipe)
    ours, theirs = build_model(small_config), build_model(small_config)
    load_checkpoint(ours, weights)
    with torch_file(theirs, weights) as path:
        _load_checkpoint(theirs, str(path))
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name


def test_nothing_is_exported_where_nothing_was_trained(small_recipe, tmp_path):
    with pytest.raises(UserError, match="train first"):
        command.export_weights(tmp_path, small_recipe)
    assert list(tmp_path.iterdir()) == []


def test_history_is_lines_of_json(uninterrupted):
    lines = (uninterrupted.folder / HISTORY).read_text().splitlines()
    assert all(json.loads(line)["seconds"] >= 0 for line in lines)
