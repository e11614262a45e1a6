"""3D Gaussians from what the Gaussian decoders give.

Follows `Gaussian` of `sam3d_objects/model/backbone/tdfy_dit/representations/gaussian`. Positions
are in the object's frame, z up, about the cube from -0.5 to 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sam_tvm.runtime.reconstruction.settings import GaussianSettings

_DEGREE_0 = 0.28209479177387814  # the constant spherical harmonic
_WIDTHS = {"xyz": 3, "features_dc": 3, "scaling": 3, "rotation": 4, "opacity": 1}


@dataclass(frozen=True)
class Gaussians:
    """G Gaussians, all float32.

    Attributes:
        positions: (G, 3).
        dc: (G, 3), coefficients of the constant spherical harmonic; see `colours`.
        opacity_logits: (G,), before the sigmoid.
        scales: (G, 3), standard deviations along the axes before rotation.
        rotations: (G, 4), quaternions of any length, real part first.

    """

    positions: np.ndarray
    dc: np.ndarray
    opacity_logits: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def opacities(self) -> np.ndarray:
        """Return (G,) opacities in [0, 1]."""
        return _sigmoid(self.opacity_logits)

    def colours(self) -> np.ndarray:
        """Return (G, 3) RGB in [0, 1]."""
        return np.clip(self.dc * np.float32(_DEGREE_0) + np.float32(0.5), 0, 1)


def gaussians(outputs: Mapping[str, np.ndarray], settings: GaussianSettings) -> Gaussians:
    """Turn the outputs of gs_decoder or gs_decoder_4 into Gaussians.

    Args:
        outputs: float32, of N voxels with K Gaussians each: "xyz" (N, K, 3) in the cube from 0 to
            1, "features_dc" (N, K, 1, 3), "scaling" (N, K, 3), "rotation" (N, K, 4) and "opacity"
            (N, K, 1).
        settings: what outputs of 0 mean.

    Returns:
        N * K Gaussians, those of a voxel together.

    Raises:
        ValueError: an output is missing or of another shape.

    """
    parts = {name: _flat(outputs, name, width) for name, width in _WIDTHS.items()}
    identity = np.array([1, 0, 0, 0], np.float32)
    return Gaussians(
        positions=parts["xyz"] - np.float32(0.5),
        dc=parts["features_dc"],
        opacity_logits=parts["opacity"][:, 0] + _logit(settings.opacity_bias),
        scales=_scales(parts["scaling"], settings),
        rotations=parts["rotation"] + identity,
    )


def _flat(outputs: Mapping[str, np.ndarray], name: str, width: int) -> np.ndarray:
    """Return an output as (N * K, width)."""
    if name not in outputs:
        raise ValueError(f"the decoder's output {name!r} is missing among {sorted(outputs)}")
    voxels, each = outputs["xyz"].shape[:2]
    values = outputs[name]
    if values.shape[:2] != (voxels, each) or values.size != voxels * each * width:
        raise ValueError(f"the decoder's output {name!r} is of shape {values.shape}")
    return values.reshape(voxels * each, width)


def _scales(values: np.ndarray, settings: GaussianSettings) -> np.ndarray:
    at_rest = np.float32(np.log(np.expm1(settings.scaling_bias)))  # softplus gives the bias back
    least = np.float32(settings.least_scale)
    return np.sqrt(np.square(np.logaddexp(values + at_rest, np.float32(0))) + least**2)


def _logit(probability: float) -> np.float32:
    return np.float32(np.log(probability / (1 - probability)))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * (1 + np.tanh(values * np.float32(0.5)))
