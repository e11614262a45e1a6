"""Cubes and their shared corners, without a dense grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.flexicubes.cube import CORNERS

_BLOCK = 1 << 18  # cubes whose corners are added at a time, which bounds the temporary memory


class Lattice(NamedTuple):
    """C cubes and their V corners.

    A position is one int32, in lexicographic order; that of a cube is that of its corner 0.

    Attributes:
        cubes: (C,), in the order given.
        points: (V,), ascending.
        corners: (C, 8) int32, indices of each cube's corners in `points`.

    """

    cubes: np.ndarray
    points: np.ndarray
    corners: np.ndarray


def point_steps(resolution: int) -> np.ndarray:
    """Steps along x, y, z from one position to the next, (3,) int32."""
    side = resolution + 1  # corners, one more than cubes
    return np.array([side * side, side, 1], np.int32)


def lattice(cubes: np.ndarray, resolution: int) -> Lattice:
    """Find the corners of distinct cubes, given by their positions in any order."""
    order = np.argsort(cubes)
    points = cubes[order]
    # Corner (x, y, z) of a cube: z along the first set of points, y along the second, x last.
    along = []
    for step in point_steps(resolution)[::-1]:
        points, here, there = _merge(points, step)
        along.append((here, there))
    corners = np.empty((len(cubes), 8), np.int32)
    for corner, (x, y, z) in enumerate(CORNERS):
        corners[order, corner] = along[2][x][along[1][y][along[0][z]]]
    return Lattice(cubes, points, corners)


def _merge(points: np.ndarray, step: np.int32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Union of ascending `points` and `points + step`, and the indices of each in it."""
    both = np.concatenate([points, points + step])
    order = np.argsort(both, kind="stable")  # merges two ascending runs
    ordered = both[order]
    new = np.ones(len(both), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    index = np.empty(len(both), np.int32)
    index[order] = np.cumsum(new, dtype=np.int32) - 1
    return ordered[new], index[: len(points)], index[len(points) :]


def find(points: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Indices of `wanted` in ascending `points`; -1 where there is none."""
    index = np.minimum(np.searchsorted(points, wanted), len(points) - 1)
    return np.where(points[index] == wanted, index, -1)


def cubes_at(corners: np.ndarray, count: int) -> np.ndarray:
    """How many cubes meet in each of `count` points, (count,) int64; `corners` is (C, 8)."""
    return np.bincount(corners.reshape(-1), minlength=count)


def sum_at_points(corners: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sum what cubes say of their corners.

    Sums run in float32 in the order of the cubes, as `torch.scatter_reduce` runs them: a sum near
    zero keeps its sign.

    Args:
        corners: (C, 8) indices of points.
        values: (C, 8) float32.
        count: of the points.

    Returns:
        (count,) float32.

    """
    sums = np.zeros(count, np.float32)
    for start in range(0, len(corners), _BLOCK):
        block = slice(start, start + _BLOCK)
        np.add.at(sums, corners[block].reshape(-1), values[block].reshape(-1))
    return sums


def sum_at_some_points(
    corners: np.ndarray, values: Sequence[np.ndarray], place: np.ndarray, count: int
) -> np.ndarray:
    """Sum as `sum_at_points` does, several channels, at some of the points.

    Args:
        corners: (C, 8) indices of points.
        values: arrays of (C, 8, K) float32.
        place: (points,) integers: where the sum of each point goes, -1 for points to leave out.
        count: of the sums.

    Returns:
        (sum of all K, count) float32.

    """
    sums = np.zeros((sum(part.shape[2] for part in values), count), np.float32)
    for start in range(0, len(corners), _BLOCK):
        places = place[corners[start : start + _BLOCK]]
        cube, corner = np.nonzero(places >= 0)
        targets = places[cube, corner].astype(np.intp)
        chosen = np.concatenate([part[start + cube, corner] for part in values], axis=1)
        for row, column in zip(sums, chosen.T, strict=True):
            np.add.at(row, targets, column)
    return sums
