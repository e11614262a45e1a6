"""The checkpoint folder of SAM-3D-Objects, as ``InferencePipeline`` reads it.

``pipeline.yaml`` names for each network a YAML file with its configuration and a file of weights:
Lightning's ``.ckpt`` (for the generators, whose condition embedders lie in the same file) or a
bare state dict, by `torch.save` or as safetensors. Unlike the reference, which runs the code in a
pickle and drops what does not fit, nothing is run here, and anything that does not fit is an
error: a file that is missing, a value in a YAML file that this port does not know, a weight.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sam_tvm.models.checkpoint_file import Fit, read_checkpoint
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import documents, generator_documents
from sam_tvm.models.sam3d.known import Document, Reading, read_document
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.models.source import file_sha256
from sam_tvm.runtime.errors import CheckpointError

PIPELINE = "pipeline.yaml"
SHOWN = 3  # how many values an error message lists
# Float32 tables (sines, a low-discrepancy sequence) that another processor may round otherwise.
COMPUTED_TOLERANCE = 1e-5
NETWORK = "_base_models.generator.reverse_fn.backbone."
EMBEDDER = "_base_models.condition_embedder."


@dataclass(frozen=True)
class Part:
    """Where a component's weights lie.

    Attributes:
        name: what ``pipeline.yaml`` calls the network that they belong to.
        prefix: of its keys in the file, whose others are other networks'.
        keys: the keys under which the state dict lies in a file of `torch.save`.
    """

    name: str
    prefix: str = ""
    keys: tuple[str, ...] = ()


PARTS = {
    "ss_condition_embedder": Part("ss_generator", EMBEDDER, ("state_dict",)),
    "slat_condition_embedder": Part("slat_generator", EMBEDDER, ("state_dict",)),
    "ss_generator": Part("ss_generator", NETWORK, ("state_dict",)),
    "ss_decoder": Part("ss_decoder"),
    "slat_generator": Part("slat_generator", NETWORK, ("state_dict",)),
    "gs_decoder": Part("slat_decoder_gs"),
    "gs_decoder_4": Part("slat_decoder_gs_4"),
    "mesh_decoder": Part("slat_decoder_mesh"),
}
DOCUMENTS: dict[str, Callable[[Sam3dConfig], Document]] = {
    "ss_generator": generator_documents.ss_generator,
    "slat_generator": generator_documents.slat_generator,
    "ss_decoder": documents.ss_decoder,
    "slat_decoder_gs": documents.slat_decoder_gs,
    "slat_decoder_gs_4": documents.slat_decoder_gs_4,
    "slat_decoder_mesh": documents.slat_decoder_mesh,
}


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder whose YAML files are known and whose files of weights are there.

    Attributes:
        path: the folder.
        settings: what ``pipeline.yaml`` says of how the model is run.
        weights: the file of each network, by the name in ``pipeline.yaml``.
        documents: all YAML files, ``pipeline.yaml`` first.
    """

    path: Path
    settings: RunSettings
    weights: Mapping[str, Path]
    documents: tuple[Path, ...]

    def sha256(self) -> str:
        """One SHA-256 over the names and contents of all files that are used."""
        digest = hashlib.sha256()
        for file in sorted({*self.documents, *self.weights.values()}):
            name = file.relative_to(self.path).as_posix()
            digest.update(f"{name} {file_sha256(file)}\n".encode())
        return digest.hexdigest()

    def load(self, component: str, module: nn.Module) -> dict[str, int]:
        """Copy the weights of `component` into its `module`, in place, as float32.

        Tables that the module computes (positions, offsets) are compared, not loaded.

        Returns:
            How many entries of the file belong to none of its networks, by their first names.

        Raises:
            CheckpointError: the file cannot be read, could run code, or does not fit; the module
                is then unchanged.
        """
        part = PARTS[component]
        path = self.weights[part.name]
        entries = _state_dict(path, part.keys)
        parameters = {name for name, _ in module.named_parameters()}
        expected = {part.prefix + key: tensor for key, tensor in module.state_dict().items()}
        computed = expected.keys() - {part.prefix + name for name in parameters}
        own = {key: value for key, value in entries.items() if key.startswith(part.prefix)}
        Fit(expected, computed, COMPUTED_TOLERANCE, "tables").load(own, str(path))
        known = tuple(p.prefix for p in PARTS.values() if p.name == part.name)
        others = (key for key in entries if not key.startswith(known))
        return dict(Counter(".".join(key.split(".")[:2]) for key in others))


def read_folder(path: Path, config: Sam3dConfig) -> CheckpointFolder:
    """Read the YAML files of a checkpoint folder; of the weights, see only that they are there.

    Raises:
        CheckpointError: a file is missing or damaged, or a value is not the one that the networks
            at `config` are built with.
    """
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {path}")
    pipeline = _read_yaml(path / PIPELINE, documents.pipeline(config))
    try:
        settings = RunSettings.read(pipeline.settings)
    except ValueError as error:
        raise CheckpointError(f"{path / PIPELINE}: {error}") from None
    yamls, weights = [path / PIPELINE], {}
    for name, document in DOCUMENTS.items():
        yamls.append(_inside(path, pipeline.files[f"{name}_config_path"]))
        _read_yaml(yamls[-1], document(config))
        weights[name] = _inside(path, pipeline.files[f"{name}_ckpt_path"])
    for file in weights.values():
        if not file.is_file():
            raise CheckpointError(f"the checkpoint folder lacks {file}")
    return CheckpointFolder(path, settings, weights, tuple(yamls))


def _inside(folder: Path, name: str) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise CheckpointError(f"{folder / PIPELINE} names {name}, which is not in its folder")
    return folder / name


def _read_yaml(path: Path, expected: Document) -> Reading:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"the checkpoint folder lacks {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError):
        raise CheckpointError(f"{path} is no YAML file") from None
    reading = read_document(found, expected)
    if reading.problems:
        count = len(reading.problems)
        shown = "; ".join(reading.problems[:SHOWN]) + ("; ..." if count > SHOWN else "")
        raise CheckpointError(f"{path} is not of a model that this preset builds: {shown}")
    return reading


def _state_dict(path: Path, keys: tuple[str, ...]) -> Mapping[str, Any]:
    content = read_checkpoint(path)
    for key in keys if path.suffix != ".safetensors" else ():
        content = content.get(key)
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} has no {key!r} with the weights")
    return {str(key): value for key, value in content.items()}
