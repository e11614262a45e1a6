"""Writing a checkpoint folder as the published one is laid out, to test what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import documents
from sam_tvm.models.sam3d.checkpoint import DOCUMENTS, PARTS, PIPELINE
from sam_tvm.models.sam3d.known import example


def save_reference_folder(modules: dict[str, nn.Module], config: Sam3dConfig, path: Path) -> None:
    """Write the modules of all components to `path`, a new folder.

    The weights of one network are in the format of Lightning (under ``state_dict``) or bare.
    """
    import yaml

    path.mkdir(parents=True)
    pipeline = example(documents.pipeline(config))
    (path / PIPELINE).write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    for name, document in DOCUMENTS.items():
        text = yaml.safe_dump(example(document(config)))
        (path / pipeline[f"{name}_config_path"]).write_text(text, encoding="utf-8")
        content: dict[str, Any] = {}
        for component, part in PARTS.items():
            if part.name == name:
                state, keys = modules[component].state_dict(), part.keys
                content.update({part.prefix + key: tensor for key, tensor in state.items()})
        for key in keys:
            content = {key: content}
        torch.save(content, path / pipeline[f"{name}_ckpt_path"])
