"""What a model's bundle holds beside its library and weights: files, and parts of the manifest."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sam_tvm.models.presets import Preset

# Sam3Processor's normalisation.
PIXEL_MEAN, PIXEL_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
MESH_TABLES = "sam3d_objects.model.backbone.tdfy_dit.representations.mesh.flexicubes.tables"


def describe(model: str, preset: Preset, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's parts that are the model's own.

    Args:
        model: whose bundle.
        preset: its size.
        weights: what the export recorded of its weights.
    """
    return _DESCRIBE[model](preset, weights)


def write_files(model: str, folder: Path) -> dict[str, str]:
    """Write the model's own files into `folder`; their names by what they are."""
    return _WRITE[model](folder)


def _describe_sam3(preset: Preset, weights: Mapping[str, Any]) -> dict[str, Any]:
    config = preset.sam3
    return {
        "image": {"size": config.image_size, "mean": PIXEL_MEAN, "std": PIXEL_STD},
        "text": {"context_length": config.context_length},
    }


def _describe_sam3d(preset: Preset, weights: Mapping[str, Any]) -> dict[str, Any]:
    from sam_tvm.models.sam3d.bundled import reconstruction_settings
    from sam_tvm.models.sam3d.settings import RunSettings

    run = RunSettings.read(dict(weights.get("settings", {})))
    return {"reconstruction": reconstruction_settings(preset.sam3d, run).to_json()}


def _write_sam3(folder: Path) -> dict[str, str]:
    from sam_tvm.models.sam3.build import bpe_path
    from sam_tvm.runtime.tokenizer import write_tokenizer

    write_tokenizer(bpe_path(), folder / "tokenizer.json")
    return {"tokenizer": "tokenizer.json"}


def _write_sam3d(folder: Path) -> dict[str, str]:
    """The case tables of the mesh extraction, which are the installed reference's own."""
    from sam_tvm.patches.environment import reference_environment
    from sam_tvm.runtime.flexicubes import tables

    with reference_environment("sam3d"):
        tables.save(folder / "flexicubes.safetensors", importlib.import_module(MESH_TABLES))
    return {"flexicubes": "flexicubes.safetensors"}


_DESCRIBE: dict[str, Callable[[Preset, Mapping[str, Any]], dict[str, Any]]] = {
    "sam3": _describe_sam3,
    "sam3d": _describe_sam3d,
}
_WRITE: dict[str, Callable[[Path], dict[str, str]]] = {"sam3": _write_sam3, "sam3d": _write_sam3d}
