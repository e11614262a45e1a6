"""The end-to-end reference of SAM-3D-Objects, in a process of its own with one OpenMP thread.

Runs as ``python -m sam_tvm.pipeline.reconstruction.worker REQUEST.json``: the unpatched modules in
the order of the reference's pipeline, on every case, in float32; and in float64, as the referee.
The referee runs twice: free, from the picture on, but on float32's voxels; and forced, each stage
on what float32 had before it. What each stage gives is stored by the stage's and its own name.

As in `reference_worker`, the referee of sparse networks is their module on tensors alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sam_tvm import components
from sam_tvm.models.presets import Sam3dConfig, get_preset
from sam_tvm.models.referee import float64_evaluation
from sam_tvm.models.sam3d.bundled import reconstruction_settings
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.models.source import WeightsInfo
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import files
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.pipeline.reconstruction import reference as around
from sam_tvm.pipeline.reconstruction.cases import (
    CASES,
    FLOAT32,
    FORCED,
    FREE,
    GRID_NOISE,
    INPUTS,
    NOISE,
    Arrays,
    case_inputs,
    chain_file,
    part,
    read_arrays,
    voxel_noise,
)
from sam_tvm.pipeline.reconstruction.stand_ins import stand_ins
from sam_tvm.pipeline.reference_worker import (
    assert_unpatched,
    end_in_order,
    reference_loader,
    save_arrays,
)
from sam_tvm.runtime.sparse import plans, subdivide

CHAINS = {"float32": (FLOAT32,), "float64": (FREE, FORCED)}


class Reference:
    """The stages of the reference's pipeline in one precision.

    A stage's method takes what there is before it and returns what it adds, arrays by name.
    """

    def __init__(self, config: Sam3dConfig, wide: bool, request: dict[str, Any]) -> None:
        self.config, self.wide = config, wide
        self.dtype = torch.float64 if wide else torch.float32
        self.load = reference_loader(request)
        self.weights: WeightsInfo | None = None
        self.run = RunSettings()

    def stages(self) -> Iterator[tuple[str, Any]]:
        """Each stage's name and method; its network is loaded when it is asked for, then dropped.

        Within, all is computed in the stages' precision.
        """
        for name, (component, method) in STAGES.items():
            model = self._load(component)
            with torch.no_grad(), self._precision(model):
                yield name, lambda given, m=method, net=model: _named(m(self, net, given))

    def _load(self, component: str) -> nn.Module:
        if not component:
            return nn.Module()
        model, self.weights = self.load(component)
        self.run = RunSettings.read(dict(self.weights.settings))
        return model

    def _precision(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        return float64_evaluation(model) if self.wide else contextlib.nullcontext()

    def _tensor(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    def _call(self, name: str, model: nn.Module, inputs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """A component's reference call, or in float64 its module on tensors alone."""
        (component,) = components.select([name])
        wanted = [spec.name for spec in component.signature(self.config).inputs]
        tensors = [self._tensor(np.asarray(inputs[key])) for key in wanted if key in inputs]
        if self.wide and component.tensor_only is not None:
            outputs: tuple[Tensor, ...] = component.tensor_only(model).eval()(*tensors)
            return outputs
        return component.call(model, *tensors)

    def preprocess(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """Picture, mask and pointmap to the embedders' inputs."""
        dtype = np.float64 if self.wide else np.float32
        scene = (given["image"], given["mask"], given["pointmap"])
        return around.preprocess(self.config, *scene, dtype)

    def structure_condition(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The first stage's condition."""
        (cond,) = self._call("ss_condition_embedder", model, part(given, "preprocess"))
        return {"cond": cond}

    def latent_condition(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The second stage's condition."""
        inputs = part(given, "preprocess.slat")
        return {"cond": self._call("slat_condition_embedder", model, inputs)[0]}

    def structure(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The first stage's sampler, all steps."""
        noise = {name: self._tensor(value) for name, value in part(given, NOISE).items()}
        sampler = around.structure_sampler(self.config, self.run, model.ss_generator)
        cond = self._tensor(given["structure_condition.cond"])
        latents: dict[str, Tensor] = around.sampled(sampler, noise, cond)
        return latents

    def voxels(self, model: nn.Module, given: Arrays) -> dict[str, Any]:
        """The decoder, and what is made of its logits and of the pose's latents."""
        latents = {name: self._tensor(value) for name, value in part(given, "structure").items()}
        side = self.config.ss_resolution
        cube = latents["shape"].permute(0, 2, 1).contiguous().view(1, -1, side, side, side)
        logits = model.ss_decoder(cube)
        coords, factor = around.voxels(logits, self.run.downsample_ss_dist)
        moments = (
            self._tensor(given[f"preprocess.pointmap_{name}"]) for name in ("scale", "shift")
        )
        pose = {name: value.reshape(-1) for name, value in around.pose(latents, *moments).items()}
        pose["scale"] = pose["scale"] * factor
        return {"logits": logits[0, 0], "coords": coords[:, 1:].int(), **pose}

    def latents(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The second stage's sampler, all steps, and the undoing of the standardisation."""
        coords = given["voxels.coords"]
        noise = self._tensor(voxel_noise(given[GRID_NOISE], coords, self.config.resolution))[None]
        network: nn.Module = model.slat_generator
        if self.wide:
            network = _LatentsOnTensors(self, model, coords)
        sampler = around.latent_sampler(self.config, self.run, network)
        cond = self._tensor(given["latent_condition.cond"])
        batched = np.concatenate([np.zeros_like(coords[:, :1]), coords], axis=1)
        feats = around.sampled(sampler, noise, cond, batched)[0]
        mean, std = (torch.tensor(v) for v in (self.run.slat_mean, self.run.slat_std))
        return {"feats": feats * std[None] + mean[None]}

    def gaussians(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """32 Gaussians a voxel."""
        return self._gaussians("gs_decoder", model, given)

    def gaussians_4(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """4 Gaussians a voxel."""
        return self._gaussians("gs_decoder_4", model, given)

    def _gaussians(self, name: str, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The attributes of the reference's `Gaussian`."""
        decoder = model.get_submodule(name)
        if self.wide:
            outputs = self._call(name, model, self._voxels(given))
            # What it holds of one voxel is replaced by the outputs of the module on tensors.
            blank = torch.zeros(1, decoder.out_channels, dtype=self.dtype)
            (held,) = decoder.to_representation(
                around.sparse_tensor(blank, np.zeros((1, 3), np.int32))
            )
            for attribute, value in zip(decoder.layout, outputs, strict=True):
                setattr(held, attribute, value.flatten(0, 1))
        else:
            (held,) = decoder(self._latents(given))
        return {
            "positions": held.get_xyz,
            "dc": held.get_features[:, 0],
            "opacities": held.get_opacity[:, 0],
            "scales": held.get_scaling,
            "rotations": held._rotation + held.rots_bias,
        }

    def mesh(self, model: nn.Module, given: Arrays) -> dict[str, Tensor]:
        """The features of the cubes, and the mesh that the reference's FlexiCubes extracts."""
        decoder, inputs = model.mesh_decoder, self._voxels(given)
        if self.wide:
            (features,) = self._call("mesh_decoder", model, inputs)
            cubes = around.sparse_tensor(features.flatten(0, 1), subdivide(inputs["coords"], 2))
        else:
            decoder.to_representation = lambda cubes: cubes
            cubes = decoder(self._latents(given))
        features = cubes.feats.clone()  # the extractor adds its bias in place
        mesh = decoder.mesh_extractor(cubes)
        return {
            "features": features.unflatten(0, (len(inputs["coords"]), -1)),
            "vertices": mesh.vertices,
            "faces": mesh.faces.int(),
            "attributes": mesh.vertex_attrs,
        }

    def _latents(self, given: Arrays) -> Any:
        return around.sparse_tensor(self._tensor(given["latents.feats"]), given["voxels.coords"])

    def _voxels(self, given: Arrays) -> dict[str, Any]:
        coords = given["voxels.coords"]
        return {
            "feats": given["latents.feats"],
            "coords": coords,
            **plans.neighbours(coords, self.config.resolution),
            **plans.windows(coords, self.config.window_size),
        }


class _LatentsOnTensors(nn.Module):
    """The latent generator on tensors alone, called as the sampler calls the reference's."""

    def __init__(self, reference: Reference, model: nn.Module, coords: np.ndarray) -> None:
        super().__init__()
        grids = plans.grids(coords, reference.config.resolution)
        self.evaluate = lambda feats, t, cond: reference._call(
            "slat_generator",
            model,
            {"feats": feats, "coords": coords, "t": t, "cond": cond, **grids},
        )

    def forward(self, x: Tensor, t: Tensor, cond: Tensor, coords: Any, cfg: bool = False) -> Tensor:
        """``SLatFlowModelTdfyWrapper.forward`` with its zeros for no condition."""
        (flow,) = self.evaluate(feats=x[0], t=t.reshape(1), cond=cond * 0 if cfg else cond)
        return flow[None]


# The network of each stage, and its method, in the order of `InferencePipelinePointMap.run`.
STAGES: dict[str, tuple[str, Any]] = {
    "preprocess": ("", Reference.preprocess),
    "structure_condition": ("ss_condition_embedder", Reference.structure_condition),
    "structure": ("ss_generator", Reference.structure),
    "voxels": ("ss_decoder", Reference.voxels),
    "latent_condition": ("slat_condition_embedder", Reference.latent_condition),
    "latents": ("slat_generator", Reference.latents),
    "gaussians": ("gs_decoder", Reference.gaussians),
    "gaussians_4": ("gs_decoder_4", Reference.gaussians_4),
    "mesh": ("mesh_decoder", Reference.mesh),
}


def _named(outputs: Mapping[str, Any]) -> Arrays:
    return {name: np.ascontiguousarray(value.detach().numpy()) for name, value in outputs.items()}


def run_chains(reference: Reference, folder: Path, chains: tuple[str, ...]) -> None:
    """Run the stages on all cases, and store what each chain gave."""
    names = [case.name for case in CASES]
    inputs = {case: read_arrays(chain_file(folder, INPUTS, case)) for case in names}
    narrow: dict[str, Arrays] = {}
    if reference.wide:
        narrow = {case: read_arrays(chain_file(folder, FLOAT32, case)) for case in names}
    results: dict[tuple[str, str], Arrays] = {(chain, c): {} for chain in chains for c in names}
    for name, run in tqdm(reference.stages(), total=len(STAGES), desc=f"sam3d {chains[0]}"):
        for (chain, case), result in results.items():
            before = {**inputs[case], **(narrow[case] if chain == FORCED else result)}
            if chain == FREE and "voxels.coords" in result:
                before["voxels.coords"] = narrow[case]["voxels.coords"]
            result.update({f"{name}.{key}": value for key, value in run(before).items()})
    for (chain, case), result in results.items():
        save_arrays(chain_file(folder, chain, case), result)


def main() -> int:
    """Answer the request named on the command line."""
    end_in_order()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    assert_unpatched()
    silence_harmless_warnings()
    folder, config = Path(request["output"]), get_preset(request["preset"]).sam3d
    for case in CASES:
        inputs = case_inputs(case, reconstruction_settings(config, RunSettings()))
        save_arrays(chain_file(folder, INPUTS, case.name), inputs)
    with reference_environment("sam3d"), stand_ins():
        for precision, chains in CHAINS.items():
            reference = Reference(config, precision == "float64", request)
            run_chains(reference, folder, chains)
    assert_unpatched()
    assert reference.weights is not None
    result = {"key": request["key"], "weights": reference.weights.record()}
    files.write_json(folder / "result.json", result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
