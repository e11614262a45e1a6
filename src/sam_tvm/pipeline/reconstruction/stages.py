"""The stages of the end-to-end comparison, run by the bundle: the port's side of it.

They have the names, and give the arrays, of `worker.STAGES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sam_tvm.pipeline.reconstruction.cases import GRID_NOISE, NOISE, Arrays, part, voxel_noise
from sam_tvm.runtime.flexicubes import Mesh
from sam_tvm.runtime.reconstruction.gaussians import Gaussians
from sam_tvm.runtime.reconstruction.pose import Pose
from sam_tvm.runtime.reconstruction.preprocess import Conditions, preprocess
from sam_tvm.runtime.reconstruction.results import Reconstruction
from sam_tvm.runtime.reconstructor import Reconstructor

_PICTURES = ("image", "mask", "rgb_image", "rgb_image_mask")
_POINTMAPS = ("pointmap", "rgb_pointmap")
_MOMENTS = ("pointmap_scale", "pointmap_shift")


def preprocessed(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """Picture, mask and pointmap to the embedders' inputs."""
    settings = reconstructor.settings.preprocess
    made = preprocess(given["image"], given["mask"], given["pointmap"], settings)
    return {
        **made.ss_inputs(),
        **{f"slat.{name}": value for name, value in made.slat_inputs().items()},
        **{name: getattr(made, name)[None] for name in _MOMENTS},
    }


def structure_condition(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The first stage's condition."""
    return {"cond": reconstructor.structure_condition(_conditions(given))}


def structure(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The first stage's sampler, all steps."""
    condition = given["structure_condition.cond"]
    return reconstructor.sample_structure(condition, part(given, NOISE))


def voxels(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The decoder, and what is made of its logits and of the pose's latents."""
    latents = part(given, "structure")
    found = reconstructor.decode_structure(latents, _conditions(given))
    return {
        "logits": reconstructor.occupancy(latents["shape"]),
        "coords": found.coords,
        "rotation": found.pose.rotation,
        "translation": found.pose.translation,
        "scale": found.pose.scale,
    }


def latent_condition(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The second stage's condition."""
    return {"cond": reconstructor.latent_condition(_conditions(given))}


def latents(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The second stage's sampler, all steps, and the undoing of the standardisation."""
    coords = given["voxels.coords"]
    noise = voxel_noise(given[GRID_NOISE], coords, reconstructor.settings.resolution)
    condition = given["latent_condition.cond"]
    return {"feats": reconstructor.sample_latents(condition, coords, noise)}


def gaussians(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """Gaussians of the first decoder."""
    return _gaussians(reconstructor, given, "gs_decoder")


def gaussians_4(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """Gaussians of the second decoder."""
    return _gaussians(reconstructor, given, "gs_decoder_4")


def _gaussians(reconstructor: Reconstructor, given: Arrays, decoder: str) -> Arrays:
    coords = given["voxels.coords"]
    found = reconstructor.decode_gaussians(given["latents.feats"], coords, decoder)
    return {
        "positions": found.positions,
        "dc": found.dc,
        "opacities": found.opacities(),
        "scales": found.scales,
        "rotations": found.rotations,
    }


def mesh(reconstructor: Reconstructor, given: Arrays) -> Arrays:
    """The features of the cubes, and the mesh."""
    coords = given["voxels.coords"]
    features = reconstructor.mesh_features(given["latents.feats"], coords)
    found = reconstructor.extract_mesh(features, coords)
    return {
        "features": features,
        "vertices": found.vertices,
        "faces": found.faces,
        "attributes": found.attributes,
    }


STAGES: Mapping[str, Callable[[Reconstructor, Arrays], Arrays]] = {
    "preprocess": preprocessed,
    "structure_condition": structure_condition,
    "structure": structure,
    "voxels": voxels,
    "latent_condition": latent_condition,
    "latents": latents,
    "gaussians": gaussians,
    "gaussians_4": gaussians_4,
    "mesh": mesh,
}


def as_gaussians(arrays: Arrays) -> Gaussians:
    """The Gaussians of a stage's arrays, ours or the reference's."""
    opacities = np.clip(arrays["opacities"].astype(np.float64), 1e-9, 1 - 1e-9)
    logits = np.log(opacities / (1 - opacities)).astype(np.float32)
    names = ("positions", "dc", "scales", "rotations")
    positions, dc, scales, rotations = (arrays[name].astype(np.float32) for name in names)
    return Gaussians(positions, dc, logits, scales, rotations)


def as_reconstruction(arrays: Arrays) -> Reconstruction:
    """The result of all stages, as the runtime returns it."""
    pose = Pose(*(arrays[f"voxels.{name}"] for name in ("rotation", "translation", "scale")))
    coords = arrays["voxels.coords"]
    found = part(arrays, "mesh")
    mesh = Mesh(found["vertices"], found["faces"], found["attributes"]) if found else None
    details = {"voxels": len(coords)}
    return Reconstruction(pose, coords, as_gaussians(part(arrays, "gaussians")), mesh, details)


def _conditions(given: Arrays) -> Conditions:
    """What `preprocess` returns, of arrays from either side."""
    arrays = part(given, "preprocess")
    return Conditions(
        **{name: arrays[name] for name in (*_PICTURES, *_POINTMAPS)},
        **{name: arrays[name][0] for name in _MOMENTS},
    )
