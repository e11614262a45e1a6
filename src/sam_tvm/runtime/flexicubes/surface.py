"""The cubes that the surface runs through, and what the decoder says of their corners."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.flexicubes.cube import CORNERS
from sam_tvm.runtime.flexicubes.lattice import (
    Lattice,
    cubes_at,
    find,
    lattice,
    point_steps,
    sum_at_points,
    sum_at_some_points,
)
from sam_tvm.runtime.flexicubes.rounding import sigmoid, tanh

# The reference's: keeps a corner within its own cell.
_REACH = 1 - 1e-8


class Features(NamedTuple):
    """The decoder's features of C cubes, float32.

    Attributes:
        sdf: (C, 8, 1) signed distances at the corners, negative inside.
        deform: (C, 8, 3) displacements of the corners.
        weights: (C, 21): of the 12 edges, the 8 corners, the cube.
        colour: (C, 8, K) of the corners; K may be 0.

    """

    sdf: np.ndarray
    deform: np.ndarray
    weights: np.ndarray
    colour: np.ndarray


class Surface(NamedTuple):
    """S cubes with corners inside and outside, in lexicographic order, and their V corners.

    Attributes:
        cubes: (S,) int32 positions, ascending.
        corners: (S, 8) int32, indices of corners.
        sdf: (V,) float32; outside of the occupied cubes 1.
        inside: (S, 8) bool, whether the signed distance at a corner is negative.
        position: (3, V) float32, in [-0.5, 0.5] and slightly beyond.
        colour: (K, V) float32 in [0, 1]; outside of the occupied cubes 0.5.
        weights: (S, 21) float32, raw; of cubes that are not occupied 0.

    """

    cubes: np.ndarray
    corners: np.ndarray
    sdf: np.ndarray
    inside: np.ndarray
    position: np.ndarray
    colour: np.ndarray
    weights: np.ndarray


def find_surface(cubes: np.ndarray, features: Features, resolution: int) -> Surface | None:
    """Find the surface's cubes; None if there is no surface.

    Args:
        cubes: (C,) int32 positions of the occupied cubes, distinct, in any order.
        features: of the occupied cubes, in the same order.
        resolution: side of the grid, in cubes.

    """
    occupied = lattice(cubes, resolution)
    sharing = cubes_at(occupied.corners, len(occupied.points))
    sdf = _signed_distance(occupied, sharing, features.sdf, resolution)
    rows, positions = _crossed_cubes(occupied, sharing, sdf < 0, resolution)
    if not len(rows):
        return None
    order = np.argsort(positions)
    rows, crossed = rows[order], lattice(positions[order], resolution)
    known = find(occupied.points, crossed.points)
    sdf = np.where(known >= 0, sdf[known], np.float32(1))
    place = np.full(len(occupied.points), -1, np.int32)
    place[known[known >= 0]] = np.flatnonzero(known >= 0)
    sums = sum_at_some_points(
        occupied.corners, (features.deform, features.colour), place, len(known)
    )
    means = sums / np.where(known >= 0, sharing[known], 1).astype(np.float32)
    return Surface(
        cubes=crossed.cubes,
        corners=crossed.corners,
        sdf=sdf,
        inside=sdf[crossed.corners] < 0,
        position=_displaced(crossed.points, means[:3], resolution),
        colour=sigmoid(means[3:]),
        weights=np.where(rows[:, None] >= 0, features.weights[rows], np.float32(0)),
    )


def _signed_distance(
    occupied: Lattice, sharing: np.ndarray, values: np.ndarray, resolution: int
) -> np.ndarray:
    """Mean over the cubes around each point; the reference starts one cell inside."""
    biased = values[..., 0] - np.float32(1 / resolution)
    return sum_at_points(occupied.corners, biased, len(sharing)) / sharing.astype(np.float32)


def _crossed_cubes(
    occupied: Lattice, sharing: np.ndarray, inside: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the occupied cubes that the surface crosses (-1 for others), and their positions."""
    count = inside[occupied.corners].sum(axis=1)
    rows = np.flatnonzero((count > 0) & (count < 8))
    # A point inside at the border of what is occupied: the surface runs on in the empty cubes.
    border = occupied.points[inside & (sharing < 8)]
    beyond = _empty_cubes_at(border, occupied.cubes, resolution)
    corners = find(occupied.points, beyond[:, None] + CORNERS @ point_steps(resolution))
    full = ((corners >= 0) & inside[corners]).all(axis=1)
    beyond = beyond[~full]
    rows = np.concatenate([rows, np.full(len(beyond), -1)])
    return rows, np.concatenate([occupied.cubes[rows[rows >= 0]], beyond])


def _empty_cubes_at(points: np.ndarray, occupied: np.ndarray, resolution: int) -> np.ndarray:
    """Cubes of the grid that touch any of `points` and are not occupied, ascending."""
    side = (resolution + 1,) * 3
    around = np.stack(np.unravel_index(points, side), axis=1)[:, None] - CORNERS
    around = around[((around >= 0) & (around < resolution)).all(axis=2)]
    cubes = np.unique((around @ point_steps(resolution)).astype(np.int32))
    return cubes[~np.isin(cubes, occupied)]


def _displaced(points: np.ndarray, deform: np.ndarray, resolution: int) -> np.ndarray:
    """Positions (3, V) float32 of points, each moved by up to half a cell."""
    side = (resolution + 1,) * 3
    place = np.stack(np.unravel_index(points, side)).astype(np.float32)
    reach = np.float32(_REACH / (resolution * 2))
    return place / np.float32(resolution) - np.float32(0.5) + reach * tanh(deform)
