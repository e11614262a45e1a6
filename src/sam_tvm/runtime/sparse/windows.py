"""Cubic windows of voxels: the plan of shifted-window attention."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.sparse.voxels import check_voxels, numbers


class WindowPlan(NamedTuple):
    """N voxels in W windows of at most L.

    Attributes:
        windows: (W, L) int32, the voxels of each window, from 1, then zeros up to the most voxels
            that a window has. No window is empty.
        slot: (N,) int32, where each voxel stands in the flattened windows, from 0.

    """

    windows: np.ndarray
    slot: np.ndarray


def window_plan(coords: np.ndarray, window: int, shift: int) -> WindowPlan:
    """Sort voxels into windows.

    The reference is ``calc_window_partition`` of `tdfy_dit/modules/sparse/attention/
    windowed_attn.py`: windows in lexicographic order; voxels of a window in the order given.

    Args:
        coords: (N, 3) integers, distinct, not negative.
        window: side of a window, in voxels.
        shift: added to every coordinate first; the decoders' odd blocks shift by half a window.

    Raises:
        VoxelError: see `check_voxels`.

    """
    cells = (check_voxels(coords) + shift) // window
    codes = numbers(cells, int(cells.max()) + 1)
    _, number, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable")
    rank = np.arange(len(cells)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    slot = np.empty(len(cells), np.int32)
    slot[order] = number[order] * sizes.max() + rank
    windows = np.zeros(len(sizes) * sizes.max(), np.int32)
    windows[slot] = np.arange(1, len(cells) + 1, dtype=np.int32)
    return WindowPlan(windows.reshape(len(sizes), -1), slot)
