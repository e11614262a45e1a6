"""What the reference's pipeline does around its networks, by the reference's own code.

`sam3d_objects.pipeline` needs a GPU to import: single functions are taken from its files. The
preprocessors and samplers are made of the documents that a checkpoint folder is held against
(`sam_tvm.models.sam3d.documents`). The caller holds `reference_environment("sam3d")` and
`stand_ins`.
"""

from __future__ import annotations

import ast
import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import documents, generator_documents
from sam_tvm.models.sam3d.known import example
from sam_tvm.models.sam3d.settings import RunSettings

_TRANSFORMS = "sam3d_objects.data.dataset.tdfy"


def take(file: str, *names: str, **namespace: Any) -> SimpleNamespace:
    """Run the definitions of `names` in a file of `sam3d_objects`, without the rest of it.

    Args:
        file: below the package.
        names: of functions, methods of its classes among them, and of constants.
        namespace: what the definitions use of the rest.
    """
    path = Path(importlib.import_module("sam3d_objects").__file__ or "").parent / file
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(node, "name", None)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        if name in names:
            found[name] = node
    if missing := set(names) - set(found):
        raise LookupError(f"{path} does not define {', '.join(sorted(missing))}")
    module = ast.Module(body=list(found.values()), type_ignores=[])
    exec(compile(module, str(path), "exec"), namespace)
    return SimpleNamespace(**{name: namespace[name] for name in names})


def made(document: Any) -> Any:
    """What hydra makes of a document: ``_target_`` called (or bound) with the other entries."""
    if isinstance(document, list):
        return [made(entry) for entry in document]
    if not isinstance(document, dict):
        return document
    values = {key: made(value) for key, value in document.items() if not key.startswith("_")}
    if "_target_" not in document:
        return values
    module, _, name = document["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), name)
    return partial(target, **values) if document.get("_partial_") else target(**values)


def preprocess(
    config: Sam3dConfig, image: np.ndarray, mask: np.ndarray, pointmap: np.ndarray, dtype: Any
) -> dict[str, Tensor]:
    """``InferencePipelinePointMap.preprocess_image`` for both stages.

    Args:
        config: for the size of the pictures.
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        pointmap: (H, W, 3) float32, infinite where there is no depth.
        dtype: numpy's, of the result.

    Returns:
        The first stage's tensors by name; the second's as ``slat.NAME``.
    """
    masks = importlib.import_module(f"{_TRANSFORMS}.img_and_mask_transforms")
    shared = {"np": np, "torch": torch, "Union": Union, "Image": Image}
    method = take(
        "pipeline/inference_pipeline_pointmap.py",
        "preprocess_image",
        get_mask=masks.get_mask,
        **shared,
    ).preprocess_image
    # As `InferencePipeline.image_to_float`, which rounds to float32.
    pipeline = SimpleNamespace(
        device="cpu",
        image_to_float=lambda x: (x / 255).astype(dtype),
        _apply_transform=lambda value, transform: transform(value),
    )
    rgba = np.concatenate([image, mask[:, :, None] * np.uint8(255)], axis=2)
    # The pipeline turns a depth model's points into its camera's frame by a matrix, which makes
    # NaN of infinity.
    points = np.where(np.isfinite(pointmap).all(axis=2, keepdims=True), pointmap, np.nan)
    document = example(documents.pipeline(config))
    first = method(
        pipeline,
        rgba,
        made(document["ss_preprocessor"]),
        torch.from_numpy(points.astype(dtype)).permute(2, 0, 1),
    )
    second = method(pipeline, rgba, made(document["slat_preprocessor"]))
    return {**first, **{f"slat.{name}": value for name, value in second.items()}}


def structure_sampler(config: Sam3dConfig, run: RunSettings, network: nn.Module) -> Any:
    """The first stage's ``ShortCut``, as ``override_ss_generator_cfg_config`` sets it up."""
    sampler = _sampler(generator_documents.ss_generator(config), network)
    sampler.inference_steps, sampler.rescale_t = run.ss_inference_steps, run.ss_rescale_t
    sampler.reverse_fn.strength = run.ss_cfg_strength
    sampler.reverse_fn.interval = list(run.ss_cfg_interval)
    sampler.no_shortcut = True
    return sampler


def latent_sampler(config: Sam3dConfig, run: RunSettings, network: nn.Module) -> Any:
    """The second stage's ``FlowMatching``, as ``override_slat_generator_cfg_config`` does."""
    sampler = _sampler(generator_documents.slat_generator(config), network)
    sampler.inference_steps, sampler.rescale_t = run.slat_inference_steps, run.slat_rescale_t
    sampler.reverse_fn.strength = run.slat_cfg_strength
    sampler.reverse_fn.interval = list(run.slat_cfg_interval)
    return sampler


def _sampler(document: Any, network: nn.Module) -> Any:
    generator = example(document)["module"]["generator"]["backbone"]
    generator["reverse_fn"]["backbone"] = network
    # In evaluation as a whole would put spconv's convolutions out of the mode they are right in.
    sampler = made(generator)
    sampler.training = sampler.reverse_fn.training = False
    return sampler


def sampled(sampler: Any, noise: Any, *condition: Any) -> Any:
    """What a sampler makes of `noise`: a tensor, or a dict of them."""
    sampler._generate_noise = lambda shape, device: (
        OrderedDict(noise) if isinstance(noise, Mapping) else noise
    )
    return sampler((), "cpu", *condition)


def pose(latents: Mapping[str, Tensor], scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """``pose_decoder("ScaleShiftInvariant")``: rotation, translation, scale."""
    decoder = take(
        "pipeline/inference_utils.py",
        *("pose_decoder", "ROTATION_6D_MEAN", "ROTATION_6D_STD"),
        torch=torch,
        matrix_to_quaternion=importlib.import_module("pytorch3d.transforms").matrix_to_quaternion,
        PoseTargetConverter=importlib.import_module(
            f"{_TRANSFORMS}.pose_target"
        ).PoseTargetConverter,
    ).pose_decoder
    decoded: dict[str, Tensor] = decoder("ScaleShiftInvariant")(
        dict(latents), scene_scale=scale, scene_shift=shift
    )
    return decoded


def voxels(logits: Tensor, distance: int) -> tuple[Tensor, int]:
    """``sample_sparse_structure`` after the decoder.

    Args:
        logits: (1, 1, S, S, S).
        distance: within which neighbours make a voxel interior.

    Returns:
        Occupied voxels (N, 4), the picture's number in front, and the factor of downsampling.
    """
    functions = take(
        "pipeline/inference_utils.py",
        *("prune_sparse_structure", "downsample_sparse_structure"),
        torch=torch,
    )
    downsample: Callable[[Tensor], tuple[Tensor, int]] = functions.downsample_sparse_structure
    coords = torch.argwhere(logits > 0)[:, [0, 2, 3, 4]].int()
    if distance > 0:
        coords = functions.prune_sparse_structure(coords, max_neighbor_axes_dist=distance)
    return downsample(coords)


def sparse_tensor(feats: Tensor, coords: np.ndarray) -> Any:
    """The reference's sparse tensor of features (N, C) on voxels (N, 3)."""
    sparse = importlib.import_module("sam3d_objects.model.backbone.tdfy_dit.modules.sparse")
    batched = np.concatenate([np.zeros_like(coords[:, :1]), coords], axis=1)
    return sparse.SparseTensor(feats, torch.from_numpy(batched).int())
