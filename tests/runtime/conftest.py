"""A real tokenizer and a small real bundle, made once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import relax as R

from sam_tvm.models.sam3.build import bpe_path
from sam_tvm.patches.environment import reference_environment
from sam_tvm.runtime.instructions import architecture
from sam_tvm.runtime.manifest import FORMAT_VERSION, MANIFEST, render, seal
from sam_tvm.runtime.storage import sha256_of
from sam_tvm.runtime.tokenizer import write_tokenizer

WEIGHT = np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)
BIAS = np.random.default_rng(2).standard_normal(3).astype(np.float32)


@R.function
def affine(
    x: R.Tensor(("n", 4), "float32"),
    flags: R.Tensor(("n",), "bool"),
    weight: R.Tensor((4, 16), "float32"),
    bias: R.Tensor((3,), "float32"),
):
    with R.dataflow():
        product = R.matmul(x, weight)
        total = R.sum(bias)
        shifted = R.add(product, total)
        inverted = R.logical_not(flags)
        out = (shifted, inverted)
        R.output(out)
    return out


def _write_weights(path: Path) -> None:
    """Write safetensors with the data aligned to 64 bytes."""
    header = {
        "layer.weight": {"dtype": "F32", "shape": [4, 16], "data_offsets": [0, 256]},
        "layer.bias": {"dtype": "F32", "shape": [3], "data_offsets": [256, 268]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    path.write_bytes(len(text).to_bytes(8, "little") + text + WEIGHT.tobytes() + BIAS.tobytes())


def tensor(name: str, dtype: str, *shape: int | str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def describe(folder: Path, paths: dict[str, str]) -> dict[str, Any]:
    return {
        kind: {
            "path": path,
            "bytes": (folder / path).stat().st_size,
            "sha256": sha256_of(folder / path),
        }
        for kind, path in paths.items()
    }


def write_manifest(folder: Path, changes: dict[str, Any]) -> None:
    """Describe the files in `folder`; `changes` replace or, with None, remove keys."""
    paths = {"library": "lib.so", "weights": "weights.safetensors", "tokenizer": "tokenizer.json"}
    manifest = {
        "format_version": FORMAT_VERSION,
        "model": "affine",
        "preset": "tiny",
        "target": "llvm",
        "precision": "float32",
        "cpu": {"architecture": architecture(), "instructions": []},
        "image": {"size": 28, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        "text": {"context_length": 32},
        "files": describe(folder, paths),
        "functions": {
            "affine": {
                "inputs": [tensor("x", "float32", "n", 4), tensor("flags", "bool", "n")],
                "outputs": [tensor("y", "float32", "n", 16), tensor("inverted", "bool", "n")],
                "params": ["layer.weight", "layer.bias"],
            }
        },
        "weights": {"source": "test", "sha256": "0"},
        "versions": {"apache-tvm": "0.27.0.post1"},
        **changes,
    }
    kept = {key: value for key, value in manifest.items() if value is not None}
    (folder / MANIFEST).write_text(render(seal(kept)), encoding="utf-8")


@pytest.fixture(scope="session")
def transforms():
    """Import torchvision's v2 transforms, which this machine may need a patch for."""
    with reference_environment():
        from torchvision.transforms import v2
    return v2


@pytest.fixture(scope="session")
def tokenizer_json(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(bpe_path(), path)
    return path


@pytest.fixture(scope="session")
def _affine_template(tmp_path_factory, tokenizer_json) -> Path:
    folder = tmp_path_factory.mktemp("affine")
    module = tvm.IRModule({"affine": affine.with_attr("global_symbol", "affine")})
    relax.build(module, target=tvm.target.Target("llvm")).export_library(str(folder / "lib.so"))
    _write_weights(folder / "weights.safetensors")
    shutil.copy(tokenizer_json, folder / "tokenizer.json")
    write_manifest(folder, {})
    return folder


@pytest.fixture
def affine_weights() -> tuple[np.ndarray, np.ndarray]:
    return WEIGHT, BIAS


@pytest.fixture
def rewrite_manifest() -> Callable[[Path, dict[str, Any]], None]:
    return write_manifest


@pytest.fixture
def affine_bundle(_affine_template, tmp_path) -> Path:
    """Copy a bundle with one function, affine(x, flags) -> (x @ weight + sum(bias), not flags)."""
    return Path(shutil.copytree(_affine_template, tmp_path / "affine_bundle"))
