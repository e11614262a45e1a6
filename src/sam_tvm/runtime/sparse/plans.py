"""The plans of a whole network, under the names of its inputs."""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.sparse.hierarchy import coarsen
from sam_tvm.runtime.sparse.neighbours import neighbour_table
from sam_tvm.runtime.sparse.windows import window_plan

Arrays = dict[str, np.ndarray]


def windows(coords: np.ndarray, window: int) -> Arrays:
    """Make the plans of the decoders' windows, which every other block shifts by half their size.

    Args:
        coords: (N, 3) integers, distinct, not negative.
        window: side of a window, voxels.

    Raises:
        VoxelError: see `check_voxels`.

    """
    plain, shifted = window_plan(coords, window, 0), window_plan(coords, window, window // 2)
    return {
        "windows": plain.windows,
        "slots": plain.slot,
        "shifted_windows": shifted.windows,
        "shifted_slots": shifted.slot,
    }


def neighbours(coords: np.ndarray, resolution: int) -> Arrays:
    """Make the plan of the mesh decoder's convolutions, on a grid of side `resolution`."""
    return {"neighbours": neighbour_table(coords, resolution)}


def grids(coords: np.ndarray, resolution: int) -> Arrays:
    """Make the plan of the generator's convolutions: on these voxels and those of twice the side.

    `coarse_coords` are the latter's coordinates.

    Raises:
        VoxelError: see `check_voxels`.

    """
    coarse = coarsen(coords)
    return {
        "coarse_coords": coarse.coords,
        "neighbours": neighbour_table(coords, resolution),
        "coarse_neighbours": neighbour_table(coarse.coords, resolution // 2),
        "parent": coarse.parent,
        "children": coarse.children,
    }
