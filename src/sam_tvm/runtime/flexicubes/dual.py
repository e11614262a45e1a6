"""The mesh's vertices: one or more in each cube of the surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sam_tvm.runtime.flexicubes.cube import EDGES
from sam_tvm.runtime.flexicubes.rounding import sigmoid, tanh
from sam_tvm.runtime.flexicubes.surface import Surface
from sam_tvm.runtime.flexicubes.tables import CaseTables

_SCALE = 0.99  # of the learned weights, the reference's `weight_scale`: none becomes zero


class DualVertices(NamedTuple):
    """N vertices: those of cubes with one, then of cubes with two, and so on.

    Attributes:
        position: (3, N) float32.
        colour: (K, N) float32.
        gamma: (N,) float32, the weight of the cube, by which quadrilaterals are split.
        of_edge: (S, 12) int32, the vertex that each crossed edge of each cube belongs to.

    """

    position: np.ndarray
    colour: np.ndarray
    gamma: np.ndarray
    of_edge: np.ndarray


def dual_vertices(surface: Surface, cases: np.ndarray, tables: CaseTables) -> DualVertices:
    """Place each vertex in the weighted mean of where the surface crosses its edges.

    The reference is ``FlexiCubes._compute_vd``; sums run in float32 in its order.
    """
    beta = _around_one(surface.weights[:, :12])
    alpha = _around_one(surface.weights[:, 12:20])
    gamma = sigmoid(surface.weights[:, 20]) * np.float32(_SCALE) + np.float32((1 - _SCALE) / 2)
    cubes, groups = _groups(cases, tables)
    values = np.concatenate([surface.position, surface.colour])
    sums = np.zeros((len(values), len(cubes)), np.float32)
    total = np.zeros(len(cubes), np.float32)
    of_edge = np.zeros(beta.shape, np.int32)
    for edges in groups.T:
        vertices = np.flatnonzero(edges >= 0)
        edge, cube = edges[vertices], cubes[vertices]
        weight = beta[cube, edge]
        crossing = _crossing(surface, alpha, values, cube, edge)
        sums[:, vertices] += crossing * weight
        total[vertices] += weight
        of_edge[cube, edge] = vertices
    sums /= total
    return DualVertices(sums[:3], sums[3:], gamma[cubes], of_edge)


def _around_one(raw: np.ndarray) -> np.ndarray:
    return tanh(raw) * np.float32(_SCALE) + np.float32(1)


def _groups(cases: np.ndarray, tables: CaseTables) -> tuple[np.ndarray, np.ndarray]:
    """Cube (N,) and edges (N, 7), ended by -1, of each vertex, in the reference's order."""
    count = tables.num_vd_table[cases]
    cubes, groups = [], []
    for number in range(1, tables.dmc_table.shape[1] + 1):
        chosen = np.flatnonzero(count == number)
        cubes.append(np.repeat(chosen, number))
        groups.append(tables.dmc_table[cases[chosen], :number].reshape(-1, 7))
    return np.concatenate(cubes), np.concatenate(groups)


def _crossing(
    surface: Surface, alpha: np.ndarray, values: np.ndarray, cube: np.ndarray, edge: np.ndarray
) -> np.ndarray:
    """Interpolate values (K, V) of corners to where the surface crosses edges of cubes, (K, E)."""
    first, second = EDGES[edge].T
    point_1, point_2 = surface.corners[cube, first], surface.corners[cube, second]
    weight_1 = surface.sdf[point_2] * alpha[cube, second]
    weight_2 = -(surface.sdf[point_1] * alpha[cube, first])
    mixed = values[:, point_1] * weight_1
    mixed += values[:, point_2] * weight_2
    mixed /= weight_1 + weight_2
    return mixed
