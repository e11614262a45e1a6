"""What a bundle of SAM-3D-Objects says of how its networks are run.

Without numpy: a manifest is read where nothing else of the runtime is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PreprocessSettings:
    """How the object is framed.

    Attributes:
        size: side of the squares that the embedders take, pixels.
        box_size_factor: side of the crop, in units of the object's longer side.
        padding_factor: margin added around the crop, in units of its side.

    """

    size: int = 518
    box_size_factor: float = 1.2
    padding_factor: float = 0.0


@dataclass(frozen=True)
class SamplerSettings:
    """How to sample; the values are the checkpoint's, see its `pipeline.yaml`.

    Attributes:
        steps: Euler steps from noise to latents.
        rescale_t: r in ``t / (1 + (r - 1)(1 - t))``, which bends the times of the steps; 1 leaves
            them evenly spaced.
        guidance: s in ``(1 + s) conditional - s unconditional``; 0 for no guidance.
        interval: scaled times, both included, between which guidance is on.
        time_scale: what the network's t and d are multiplied by.
        takes_step: whether the network takes the step's length: the reference's `ShortCut`, whose
            times are float64; otherwise `FlowMatching`, whose times are float32.

    """

    steps: int = 25
    rescale_t: float = 1.0
    guidance: float = 0.0
    interval: tuple[float, float] = (0.0, 500.0)
    time_scale: float = 1000.0
    takes_step: bool = False


@dataclass(frozen=True)
class GaussianSettings:
    """What a decoder's outputs of 0 mean; see `representation_config` of the checkpoint's YAML.

    Attributes:
        scaling_bias: scale of a Gaussian whose output is 0; scales pass through softplus.
        opacity_bias: opacity of a Gaussian whose output is 0.
        least_scale: added to every scale in quadrature: `3d_filter_kernel_size`.

    """

    scaling_bias: float = 0.004
    opacity_bias: float = 0.1
    least_scale: float = 0.0009


@dataclass(frozen=True)
class ReconstructionSettings:
    """Settings of the whole way from a picture to Gaussians and a mesh.

    Attributes:
        preprocess: how the object is framed.
        structure: sampling of the sparse structure and the pose.
        structure_shapes: shapes of the latents of that stage, by name.
        latents: sampling of the structured latents.
        latent_mean, latent_std: of each latent channel; sampled latents are standardised.
        resolution: voxels along an edge of the occupancy grid.
        prune_distance: voxels whose whole neighbourhood up to here is occupied are dropped; 0:
            none are.
        window: edge of the windows of the decoders' attention, voxels.
        gaussians: what the Gaussian decoders' outputs mean, by the decoder's name.

    """

    preprocess: PreprocessSettings
    structure: SamplerSettings
    structure_shapes: Mapping[str, tuple[int, ...]]
    latents: SamplerSettings
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]
    resolution: int
    prune_distance: int
    window: int
    gaussians: Mapping[str, GaussianSettings]

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a manifest has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ReconstructionSettings:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing, not known or of another kind.

        """
        shapes = entry["structure_shapes"]
        gaussians = entry["gaussians"]
        return cls(
            preprocess=PreprocessSettings(**entry["preprocess"]),
            structure=_sampler(entry["structure"]),
            structure_shapes={name: tuple(map(int, shape)) for name, shape in shapes.items()},
            latents=_sampler(entry["latents"]),
            latent_mean=tuple(map(float, entry["latent_mean"])),
            latent_std=tuple(map(float, entry["latent_std"])),
            resolution=int(entry["resolution"]),
            prune_distance=int(entry["prune_distance"]),
            window=int(entry["window"]),
            gaussians={name: GaussianSettings(**values) for name, values in gaussians.items()},
        )


def _sampler(entry: Mapping[str, Any]) -> SamplerSettings:
    first, last = entry["interval"]
    return SamplerSettings(**{**entry, "interval": (float(first), float(last))})
