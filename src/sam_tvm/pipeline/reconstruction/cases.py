"""The end-to-end cases of SAM-3D-Objects: pictures, with masks, pointmaps and noise made for them.

Without torch: both sides of the comparison read what is made here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam_tvm.pipeline.pictures import load_picture
from sam_tvm.runtime.reconstruction.sampling import initial_noise
from sam_tvm.runtime.reconstruction.settings import ReconstructionSettings

Arrays = dict[str, np.ndarray]
# Runs of the reference's stages: float32's, the referee's from the picture on, the referee's on
# what float32 had before each stage; and what all begin with.
INPUTS, FLOAT32, FREE, FORCED = "inputs", "float32", "float64", "float64_forced"
NOISE = "noise"  # of the structure's latents, by name, as ``noise.NAME``
GRID_NOISE = "grid_noise"


@dataclass(frozen=True)
class ReconstructionCase:
    """An object in a picture.

    Attributes:
        name: of the case.
        picture: as `load_picture` takes it.
        centre, radius: of the mask's ellipse, in shares of the picture's width and height. One
            that reaches over the picture's edge has a crop that does, too.
    """

    name: str
    picture: str
    centre: tuple[float, float]
    radius: tuple[float, float]


CASES = (
    ReconstructionCase("object_inside", "chelsea", (0.45, 0.45), (0.28, 0.35)),
    ReconstructionCase("object_at_the_edge", "rocket:turned", (0.6, 0.85), (0.3, 0.25)),
)


def case_inputs(case: ReconstructionCase, settings: ReconstructionSettings) -> Arrays:
    """What both sides are given, equal for equal case and settings.

    Returns:
        - ``image`` (H, W, 3) uint8, ``mask`` (H, W) bool, ``pointmap`` (H, W, 3) float32 with
          infinity where there is no depth;
        - ``noise.NAME``, the first stage's noise;
        - ``grid_noise`` (R**3, C) float32, the second stage's noise for every voxel of the grid:
          those that are occupied take theirs, whichever they are.
    """
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    image = np.asarray(load_picture(case.picture).convert("RGB"))
    mask = _mask(case, image.shape[:2], rng)
    noise = initial_noise(settings.structure_shapes, rng)
    voxels = (settings.resolution**3, len(settings.latent_mean))
    return {
        "image": image,
        "mask": mask,
        "pointmap": _pointmap(mask, rng),
        **{f"{NOISE}.{name}": values for name, values in noise.items()},
        GRID_NOISE: rng.standard_normal(voxels, np.float32),
    }


def voxel_noise(grid_noise: np.ndarray, coords: np.ndarray, resolution: int) -> np.ndarray:
    """The second stage's noise of (N, 3) voxels, (N, C)."""
    return grid_noise[np.ravel_multi_index(tuple(coords.T), (resolution,) * 3)]


def part(arrays: Arrays, stage: str) -> Arrays:
    """A stage's arrays by their own names."""
    prefix = f"{stage}."
    return {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def chain_file(folder: Path, chain: str, case: str) -> Path:
    """Where the reference's arrays of a case lie, of one run through the stages."""
    return folder / chain / f"{case}.npz"


def read_arrays(path: Path) -> Arrays:
    """All arrays of an ``.npz``."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y of pixels, in shares of the picture's width and height."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x / shape[1], y / shape[0]


def _mask(case: ReconstructionCase, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """An ellipse with waves and noise along its edge, (H, W) bool."""
    x, y = _grid(shape)
    across, down = (x - case.centre[0]) / case.radius[0], (y - case.centre[1]) / case.radius[1]
    waves = 0.1 * np.sin(5 * np.arctan2(down, across) + rng.uniform(0, 2 * np.pi))
    return np.hypot(across, down) + waves + rng.uniform(0, 0.05, shape) < 1


def _pointmap(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tilted plane with a bump where the object is, no depth at the top and at some pixels."""
    x, y = _grid(mask.shape)
    depth = 3 + 0.8 * x - 1.1 * y + rng.uniform(0, 0.01, mask.shape)
    centre = x[mask].mean(), y[mask].mean()
    depth -= 0.9 * mask * np.exp(-8 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2))
    points = np.stack([(0.5 - x) * depth, (0.5 - y) * depth, depth], axis=2).astype(np.float32)
    points[(y < 0.1) | (rng.uniform(size=mask.shape) < 0.02)] = np.inf
    return points
