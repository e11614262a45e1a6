"""Fewer voxels: without the interior, or on a smaller grid."""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.errors import VoxelError
from sam_tvm.runtime.sparse.voxels import check_voxels

# Above it the reference's mesh decoder would overflow 32-bit indices.
VOXEL_LIMIT = 42_000


def prune_interior(coords: np.ndarray, distance: int = 1) -> np.ndarray:
    """Drop voxels whose whole neighbourhood is occupied.

    The reference is ``prune_sparse_structure`` of `sam3d_objects/pipeline/inference_utils.py`.

    Args:
        coords: (N, 3) integers, distinct.
        distance: voxels with all of the (2 * distance + 1)**3 around them occupied are dropped;
            0, the pipeline's default, keeps all.

    Returns:
        (K, 3) int32, the others in the order given.

    Raises:
        VoxelError: see `check_voxels`; or `distance` is negative.

    """
    voxels = check_voxels(coords)
    if distance < 0:
        raise VoxelError(f"the distance to prune by must be 0 or more, not {distance}")
    if distance == 0:
        return voxels.astype(np.int32)
    corner = voxels.min(axis=0)
    size = voxels.max(axis=0) - corner + 1
    occupied = np.zeros(size + 2 * distance, bool)
    occupied[tuple((voxels - corner + distance).T)] = True
    full = occupied
    for axis in range(3):  # one at a time: a box is full if all of its rows are
        rows = np.lib.stride_tricks.sliding_window_view(full, 2 * distance + 1, axis)
        full = np.logical_and.reduce(rows, axis=-1)
    interior = full[tuple((voxels - corner).T)]
    return voxels[~interior].astype(np.int32)


def downsample_to_limit(
    coords: np.ndarray,
    limit: int = VOXEL_LIMIT,
    factor: int = 2,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, int]:
    """Shrink a structure of too many voxels around its centre, and thin it if that is not enough.

    The reference is ``downsample_sparse_structure`` of `sam3d_objects/pipeline/
    inference_utils.py`, which draws from torch's generator instead of `rng`. It counts in float32.

    Args:
        coords: (N, 3) integers, distinct.
        limit: how many voxels are too many only above.
        factor: by which the structure shrinks.
        rng: chooses what stays, only where shrinking does not reach `limit`; seed 0 by default.

    Returns:
        The voxels, (K, 3) int32 with K <= limit: as given if they were few enough, else in
        lexicographic order, or in random order where some were dropped; and the factor by which
        they shrank (1 or `factor`), which the object's scale is to be multiplied with.

    Raises:
        VoxelError: see `check_voxels`.

    """
    voxels = check_voxels(coords)
    if len(voxels) <= limit:
        return voxels.astype(np.int32), 1
    kept = np.unique(_shrink(voxels.astype(np.float32), factor), axis=0)
    if len(kept) > limit:
        rng = np.random.default_rng(0) if rng is None else rng
        kept = kept[rng.permutation(len(kept))[:limit]]
    return kept, factor


def _shrink(positions: np.ndarray, factor: int) -> np.ndarray:
    """Scale (N, 3) float32 positions within their bounds, and round them to int32."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    size = high - low + 1
    target = size / np.float32(factor)
    margin = (size - target) / 2
    first, last = low + margin, low + margin + target - 1
    # Along an axis of one layer nothing is to be scaled; the bounds below decide.
    fraction = (positions - low) / np.maximum(high - low, 1)
    rounded = np.rint(fraction * (target - 1) + first).astype(np.int32)
    return np.minimum(np.maximum(rounded, first.astype(np.int32)), last.astype(np.int32))
