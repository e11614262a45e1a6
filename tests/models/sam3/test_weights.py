"""Weights of a model and what identifies them."""

import hashlib

import pytest
import torch

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3.checkpoint import save_reference_checkpoint
from sam_tvm.models.sam3.weights import load_model, state_dict_sha256, weights_identity
from sam_tvm.runtime.errors import CheckpointError


def test_random_weights_are_identified_by_their_values(tiny):
    _, info = load_model(get_preset("tiny"), seed=0)
    _, other = load_model(get_preset("tiny"), seed=1)
    assert info.source == "random, seed 0"
    assert info.sha256 == state_dict_sha256(tiny.state_dict())
    assert info.sha256 != other.sha256


def test_state_dict_sha256_is_the_documented_definition():
    a, b = torch.arange(6, dtype=torch.float32).reshape(2, 3), torch.tensor([7])
    content = b"a float32 2,3\n" + a.numpy().tobytes() + b"b int64 1\n" + b.numpy().tobytes()
    expected = hashlib.sha256(content).hexdigest()
    assert state_dict_sha256({"b": b, "a": a.T.contiguous().T}) == expected
    assert state_dict_sha256({"a": a, "b": b, "freqs": torch.ones(2) * 1j}) == expected


def test_checkpoint_weights_are_identified_by_the_file(tiny, tmp_path):
    path = tmp_path / "sam3.pt"
    save_reference_checkpoint(tiny, path)
    model, info = load_model(get_preset("tiny"), path)
    assert info.source == "sam3.pt"
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert state_dict_sha256(model.state_dict()) == state_dict_sha256(tiny.state_dict())


def test_identity_follows_the_seed_and_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "sam3.pt"
    path.write_bytes(b"one")
    one = weights_identity(path)
    path.write_bytes(b"other")
    identities = {one, weights_identity(path), weights_identity(seed=0), weights_identity(seed=1)}
    assert len(identities) == 4
    path.write_bytes(b"one")
    assert weights_identity(path) == one
    assert weights_identity() == weights_identity(seed=0)


def test_missing_checkpoint_is_refused_before_the_model_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_tvm.models.sam3.weights.build_model", None)
    with pytest.raises(CheckpointError, match=r"none\.pt: No such file"):
        load_model(get_preset("tiny"), tmp_path / "none.pt")
