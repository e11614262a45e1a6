"""SAM-3D-Objects from a bundle: a picture, a mask and a pointmap to Gaussians and a mesh.

Follows `InferencePipelinePointMap.run` of `sam3d_objects`, without the layout's optimisation and
the texture, which need renderers on a GPU. Each stage is a method of its own, so that any of them
can be run on inputs from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sam_tvm.runtime import flexicubes
from sam_tvm.runtime.bundle import Bundle, release_workspace
from sam_tvm.runtime.errors import BundleError, ReconstructionError, VoxelError
from sam_tvm.runtime.flexicubes import Mesh
from sam_tvm.runtime.reconstruction.gaussians import Gaussians, gaussians
from sam_tvm.runtime.reconstruction.pose import Pose, decode_pose
from sam_tvm.runtime.reconstruction.preprocess import Conditions, preprocess
from sam_tvm.runtime.reconstruction.results import Reconstruction
from sam_tvm.runtime.reconstruction.sampling import Latents, denormalise, initial_noise, sample
from sam_tvm.runtime.reconstruction.settings import ReconstructionSettings
from sam_tvm.runtime.sparse import VOXEL_LIMIT, downsample_to_limit, prune_interior, subdivide
from sam_tvm.runtime.sparse import plans as sparse_plans
from sam_tvm.runtime.threads import set_threads

SUBDIVISIONS = 2  # by the mesh decoder
GAUSSIAN_DECODERS = ("gs_decoder", "gs_decoder_4")


@dataclass(frozen=True)
class Structure:
    """What the first stage gives.

    Attributes:
        coords: (N, 3) int32, the occupied voxels, at most `VOXEL_LIMIT`.
        pose: where the object is in the scene.

    """

    coords: np.ndarray
    pose: Pose


class Reconstructor:
    """Makes a 3D object of what a mask marks in a picture."""

    def __init__(self, bundle: Bundle) -> None:
        """Use a loaded bundle; `load` is the usual way.

        Raises:
            BundleError: the bundle holds another model.

        """
        settings = bundle.manifest.reconstruction
        if settings is None:
            raise BundleError(
                f"{bundle.manifest.folder} holds no SAM-3D-Objects "
                f"(its model is {bundle.manifest.model!r})"
            )
        self.bundle = bundle
        self.settings: ReconstructionSettings = settings
        self._tables = flexicubes.load(bundle.manifest.files["flexicubes"].read())

    @classmethod
    def load(
        cls, bundle_path: str | Path, threads: int | None = None, verify: bool | None = None
    ) -> Reconstructor:
        """Load a bundle.

        Args:
            bundle_path: the bundle's folder or archive.
            threads: at most so many threads for calls from this thread; None for all cores.
            verify: whether to compare every file with its SHA-256 first; see `Bundle.load`.

        Raises:
            BundleError: the bundle is missing, damaged, or of another format or model.

        """
        if threads is not None:
            set_threads(threads)
        return cls(Bundle.load(bundle_path, verify))

    def reconstruct(
        self,
        image: Image.Image | np.ndarray,
        mask: Image.Image | np.ndarray,
        pointmap: np.ndarray,
        *,
        seed: int = 0,
        steps: int | None = None,
        latent_steps: int | None = None,
        distilled: bool = False,
        decoder: str = "gs_decoder",
        mesh: bool = True,
        progress: bool = False,
    ) -> Reconstruction:
        """Reconstruct the object.

        Args:
            image: a PIL image of any mode, or an (H, W, 3) uint8 array.
            mask: marks the object; see `preprocess.to_mask`.
            pointmap: (H, W, 3), the point in space that each pixel shows; see `pointmap`.
            seed: of the noise; the same one gives the same object.
            steps: of the first stage's sampler, instead of the settings'.
            latent_steps: of the second stage's.
            distilled: sample by the shortcut: 1 to 4 steps without guidance are then enough.
            decoder: "gs_decoder" (32 Gaussians a voxel) or "gs_decoder_4" (4).
            mesh: whether to make the mesh, the slowest of the outputs.
            progress: show bars on stderr.

        Raises:
            ImageError, MaskError, PointmapError: an input cannot be used.
            ReconstructionError: the model finds nothing.

        """
        if decoder not in GAUSSIAN_DECODERS:
            raise ValueError(f"there is no decoder {decoder!r}: {', '.join(GAUSSIAN_DECODERS)}")
        conditions = preprocess(image, mask, pointmap, self.settings.preprocess)
        rng = np.random.default_rng(seed)
        latents = self.sample_structure(
            self.structure_condition(conditions),
            initial_noise(self.settings.structure_shapes, rng),
            steps=steps,
            distilled=distilled,
            progress=progress,
        )
        structure = self.decode_structure(latents, conditions)
        features = self.sample_latents(
            self.latent_condition(conditions),
            structure.coords,
            self.latent_noise(len(structure.coords), rng),
            steps=latent_steps,
            distilled=distilled,
            progress=progress,
        )
        return Reconstruction(
            pose=structure.pose,
            coords=structure.coords,
            gaussians=self.decode_gaussians(features, structure.coords, decoder),
            mesh=self.decode_mesh(features, structure.coords) if mesh else None,
            details={"seed": seed, "voxels": len(structure.coords), "gaussian_decoder": decoder},
        )

    def structure_condition(self, conditions: Conditions) -> np.ndarray:
        """Embed picture, mask and pointmap: (1, T, D) tokens for the first stage."""
        return self._call("ss_condition_embedder", conditions.ss_inputs())["cond"]

    def latent_condition(self, conditions: Conditions) -> np.ndarray:
        """Embed picture and mask: (1, T, D) tokens for the second stage."""
        return self._call("slat_condition_embedder", conditions.slat_inputs())["cond"]

    def latent_noise(self, voxels: int, rng: np.random.Generator) -> np.ndarray:
        """Draw (N, C) float32 noise for the second stage."""
        return initial_noise({"feats": (voxels, len(self.settings.latent_mean))}, rng)["feats"]

    def sample_structure(
        self,
        condition: np.ndarray,
        noise: Latents,
        *,
        steps: int | None = None,
        distilled: bool = False,
        progress: bool = False,
    ) -> Latents:
        """Run the first stage's sampler: latents of the shape and the pose, by name."""
        conditions = _conditions(condition)

        def velocity(
            latents: Latents, t: np.ndarray, d: np.ndarray | None, conditional: bool
        ) -> Mapping[str, np.ndarray]:
            assert d is not None  # the settings say that this network takes the step
            inputs = {**latents, "t": t, "d": d, "cond": conditions[conditional]}
            outputs = self._call("ss_generator", inputs)
            return {name: outputs[f"{name}_velocity"] for name in latents}

        label = "structure" if progress else None
        settings = self.settings.structure
        return sample(velocity, noise, settings, steps=steps, distilled=distilled, label=label)

    def decode_structure(self, latents: Latents, conditions: Conditions) -> Structure:
        """Turn the first stage's latents into voxels and a pose.

        Raises:
            ReconstructionError: no voxel is occupied.

        """
        coords = np.argwhere(self.occupancy(latents["shape"]) > 0)
        if not len(coords):
            raise ReconstructionError(
                "the model finds no object: no voxel is occupied after the first stage; "
                "check that the mask marks the object, or try another seed"
            )
        coords = prune_interior(coords, self.settings.prune_distance)
        coords, factor = downsample_to_limit(coords)
        pose = decode_pose(latents, conditions.pointmap_scale, conditions.pointmap_shift)
        return Structure(coords, pose.rescaled(factor))

    def occupancy(self, shape: np.ndarray) -> np.ndarray:
        """Decode shape latents (1, R**3, C) to logits (S, S, S); above 0 is occupied."""
        _, tokens, channels = shape.shape
        side = round(tokens ** (1 / 3))
        cube = np.ascontiguousarray(shape.transpose(0, 2, 1)).reshape(1, channels, side, side, side)
        return self._call("ss_decoder", {"latent": cube})["occupancy"][0, 0]

    def sample_latents(
        self,
        condition: np.ndarray,
        coords: np.ndarray,
        noise: np.ndarray,
        *,
        steps: int | None = None,
        distilled: bool = False,
        progress: bool = False,
    ) -> np.ndarray:
        """Run the second stage's sampler.

        Args:
            condition: (1, T, D), from `latent_condition`.
            coords: (N, 3) integers.
            noise: (N, C) float32.
            steps: instead of the settings' number of steps.
            distilled: without guidance.
            progress: show a bar on stderr.

        Returns:
            (N, C) float32, denormalised: what the decoders take.

        Raises:
            VoxelError: no voxels, too many, or positions that cannot be used.

        """
        _check_count(coords)
        plan = sparse_plans.grids(coords, self.settings.resolution)
        voxels = {"coords": np.ascontiguousarray(coords, np.int32), **plan}
        conditions = _conditions(condition)

        def velocity(
            latents: Latents, t: np.ndarray, d: np.ndarray | None, conditional: bool
        ) -> Mapping[str, np.ndarray]:
            inputs = {**latents, **voxels, "t": t, "cond": conditions[conditional]}
            return {"feats": self._call("slat_generator", inputs)["flow"]}

        label = "latents" if progress else None
        settings = self.settings.latents
        sampled = sample(
            velocity, {"feats": noise}, settings, steps=steps, distilled=distilled, label=label
        )
        mean, std = (np.asarray(v) for v in (self.settings.latent_mean, self.settings.latent_std))
        return denormalise(sampled["feats"], mean, std)

    def decode_gaussians(
        self, features: np.ndarray, coords: np.ndarray, decoder: str = "gs_decoder"
    ) -> Gaussians:
        """Decode (N, C) latents on (N, 3) voxels to Gaussians."""
        _check_count(coords)
        inputs = {**_voxels(features, coords), **sparse_plans.windows(coords, self.settings.window)}
        return gaussians(self._call(decoder, inputs), self.settings.gaussians[decoder])

    def decode_mesh(self, features: np.ndarray, coords: np.ndarray) -> Mesh:
        """Decode (N, C) latents on (N, 3) voxels to a mesh."""
        return self.extract_mesh(self.mesh_features(features, coords), coords)

    def mesh_features(self, features: np.ndarray, coords: np.ndarray) -> np.ndarray:
        """Decode (N, C) latents on (N, 3) voxels to features (N, 64, 101) of 64 cubes each."""
        _check_count(coords)
        inputs = {
            **_voxels(features, coords),
            **sparse_plans.neighbours(coords, self.settings.resolution),
            **sparse_plans.windows(coords, self.settings.window),
        }
        return self._call("mesh_decoder", inputs)["features"]

    def extract_mesh(self, cubes: np.ndarray, coords: np.ndarray) -> Mesh:
        """Extract the surface from what `mesh_features` gives for (N, 3) voxels."""
        return flexicubes.extract_mesh(
            cubes.reshape(-1, cubes.shape[-1]),
            subdivide(coords, SUBDIVISIONS),
            self.settings.resolution * 2**SUBDIVISIONS,
            self._tables,
        )

    def _call(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        wanted = (spec.name for spec in self.bundle.manifest.functions[name].inputs)
        outputs = self.bundle.call(name, {key: inputs[key] for key in wanted})
        release_workspace()
        return outputs


def _conditions(condition: np.ndarray) -> dict[bool, np.ndarray]:
    """Return what to condition on, and the zeros that stand for no condition."""
    return {True: condition, False: np.zeros_like(condition)}


def _voxels(features: np.ndarray, coords: np.ndarray) -> dict[str, np.ndarray]:
    return {"feats": features, "coords": np.ascontiguousarray(coords, np.int32)}


def _check_count(coords: np.ndarray) -> None:
    if len(coords) > VOXEL_LIMIT:
        raise VoxelError(
            f"{len(coords)} voxels are more than the limit of {VOXEL_LIMIT}: "
            "use downsample_to_limit first"
        )
