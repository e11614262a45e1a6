"""Checkpoints in the reference's format, good and bad."""

import io
import pickle

import pytest
import torch

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3.build import build_model
from sam_tvm.models.sam3.checkpoint import load_checkpoint, save_reference_checkpoint
from sam_tvm.models.sam3.weights import state_dict_sha256
from sam_tvm.runtime.errors import CheckpointError

KEY = "detector.dot_prod_scoring.hs_proj.weight"
FREQS = "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis"


@pytest.fixture(scope="module")
def any_model(environment):
    return build_model(get_preset("tiny").sam3)


@pytest.fixture
def model(any_model):
    """Return a model whose weights are all zero."""
    for parameter in any_model.parameters():
        parameter.zero_()
    return any_model


@pytest.fixture(scope="module")
def entries(tiny):
    """Return a checkpoint's content: the tiny weights by the keys of the published file."""
    return {f"detector.{key}": tensor for key, tensor in tiny.state_dict().items()}


def test_saved_checkpoint_loads_alike_here_and_in_sam3(tiny, model, tmp_path, capsys):
    from sam3.model_builder import _load_checkpoint

    path = tmp_path / "sam3.pt"
    save_reference_checkpoint(tiny, path)
    assert [file.name for file in tmp_path.iterdir()] == ["sam3.pt"]

    reference = build_model(get_preset("tiny").sam3)
    _load_checkpoint(reference, str(path))
    assert capsys.readouterr().out == ""  # where it prints missing keys

    assert load_checkpoint(model, path) == {}
    ours, theirs = model.state_dict(), reference.state_dict()
    assert ours.keys() == theirs.keys()
    for key, tensor in tiny.state_dict().items():
        assert torch.equal(ours[key], tensor)
        assert torch.equal(theirs[key], tensor)


def test_known_unused_parts_are_counted(tiny, model, entries, tmp_path):
    neck = "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1"
    extra = {"tracker.maskmem.weight": 1, f"{neck}.weight": 2, f"{neck}.bias": 3}
    torch.save({**entries, **extra}, tmp_path / "sam3.pt")
    assert load_checkpoint(model, tmp_path / "sam3.pt") == {"tracker": 1, "sam2_convs": 2}
    assert state_dict_sha256(model.state_dict()) == state_dict_sha256(tiny.state_dict())


def test_absent_frequencies_are_fine(model, entries, tmp_path):
    real = {key: tensor for key, tensor in entries.items() if not tensor.is_complex()}
    assert len(real) < len(entries)
    torch.save(real, tmp_path / "sam3.pt")
    load_checkpoint(model, tmp_path / "sam3.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_become_float32(model, entries, tmp_path, dtype):
    narrow = {key: t if t.is_complex() else t.to(dtype) for key, t in entries.items()}
    torch.save(narrow, tmp_path / "sam3.pt")
    load_checkpoint(model, tmp_path / "sam3.pt")
    for key, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, narrow[f"detector.{key}"].float())


def test_files_of_the_older_format_load(tiny, model, entries, tmp_path):
    torch.save(entries, tmp_path / "sam3.pt", _use_new_zipfile_serialization=False)
    load_checkpoint(model, tmp_path / "sam3.pt")
    assert state_dict_sha256(model.state_dict()) == state_dict_sha256(tiny.state_dict())


MISFITS = {
    "missing": (lambda e: e.pop(KEY), f"1 key missing: {KEY}$"),
    "many missing": (
        lambda e: [e.pop(key) for key in list(e) if "geometry_encoder" in key],
        r"\d\d keys missing: (detector.geometry_encoder.[\w.]+, ){3}\.\.\.$",
    ),
    "unexpected": (
        lambda e: e.update({"detector.extra.weight": torch.ones(1), "epoch": 3}),
        "2 keys unexpected: detector.extra.weight, epoch$",
    ),
    "without prefix": (
        lambda e: e.update({KEY.removeprefix("detector."): e.pop(KEY)}),
        f"1 key missing: {KEY}; 1 key unexpected: dot_prod_scoring.hs_proj.weight$",
    ),
    "mis-shaped": (
        lambda e: e.update({KEY: torch.ones(3, 4)}),
        rf"1 key of another shape: {KEY} \(expected \(64, 64\), got \(3, 4\)\)$",
    ),
    "integers": (
        lambda e: e.update({KEY: torch.ones(64, 64, dtype=torch.int64)}),
        rf"1 key of another type: {KEY} \(expected float32, got int64\)$",
    ),
    "no tensor": (
        lambda e: e.update({KEY: 3}),
        rf"1 key of another type: {KEY} \(expected a tensor, got int\)$",
    ),
    "real frequencies": (
        lambda e: e.update({FREQS: e[FREQS].real.clone()}),
        rf"1 key of another type: {FREQS} \(expected complex64, got float32\)$",
    ),
    "other frequencies": (
        lambda e: e.update({FREQS: e[FREQS] * 1.001}),
        f"1 key with other rotary frequencies than the model computes: {FREQS}$",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_described_and_leaves_the_model_alone(model, entries, tmp_path, name):
    change, message = MISFITS[name]
    changed = dict(entries)
    change(changed)
    torch.save({"model": changed}, tmp_path / "sam3.pt")
    message = rf"does not fit the model \(expected \d+ keys, got \d+\): {message}"
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(model, tmp_path / "sam3.pt")
    assert "\n" not in str(error.value)
    assert not any(parameter.any() for parameter in model.parameters())


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_pickle_that_would_run_code_is_refused_and_does_not(model, tmp_path, write):
    path, trace = tmp_path / "sam3.pt", tmp_path / "trace"
    content = {"model": {"detector.weight": RunsCode(trace)}}
    if write == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match="is refused: it holds Python objects"):
        load_checkpoint(model, path)
    assert not trace.exists()


def truncated(entries, fraction):
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    return buffer.getvalue()[: int(fraction * buffer.tell())]


@pytest.mark.parametrize("fraction", [0.0, 1e-6, 0.5, 0.9999])
def test_truncated_file_is_refused(model, entries, tmp_path, fraction):
    (tmp_path / "sam3.pt").write_bytes(truncated(entries, fraction))
    with pytest.raises(CheckpointError, match=r"sam3.pt is not a readable checkpoint") as error:
        load_checkpoint(model, tmp_path / "sam3.pt")
    assert "\n" not in str(error.value)


def test_text_file_is_refused(model, tmp_path):
    (tmp_path / "sam3.pt").write_text("not a checkpoint\n")
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_checkpoint(model, tmp_path / "sam3.pt")


def test_other_content_is_refused(model, tmp_path):
    torch.save([torch.ones(1)], tmp_path / "sam3.pt")
    with pytest.raises(CheckpointError, match="holds a list; expected a dict of tensors"):
        load_checkpoint(model, tmp_path / "sam3.pt")


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_missing_file_is_refused(model, tmp_path, name):
    with pytest.raises(CheckpointError, match="there is no checkpoint file"):
        load_checkpoint(model, tmp_path / name)
