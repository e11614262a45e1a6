"""The mesh's faces: two triangles across each crossed edge between four cubes."""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.flexicubes.cube import EDGE_KINDS, EDGE_RANKS, EDGES
from sam_tvm.runtime.flexicubes.dual import DualVertices
from sam_tvm.runtime.flexicubes.surface import Surface

# The order of the four vertices around an edge that starts outside, and around one that ends there.
_FROM_OUTSIDE, _FROM_INSIDE = (0, 1, 3, 2), (2, 3, 1, 0)
# Triangles of a quadrilateral that is split between vertices 0 and 2, and between 1 and 3.
_SPLIT_02, _SPLIT_13 = (0, 1, 2, 0, 2, 3), (0, 1, 3, 3, 1, 2)


def triangles(surface: Surface, vertices: DualVertices) -> np.ndarray:
    """Join the vertices of four cubes around each crossed edge, (F, 3) int32.

    Edges at the grid's border, which fewer cubes share, have no face. Faces are in the order of
    the reference (``FlexiCubes._triangulate``, not in training), and wound as there.
    """
    quads, start = _quads(surface, vertices.of_edge)
    outside = surface.sdf[start] > 0
    quads = np.concatenate([quads[outside][:, _FROM_OUTSIDE], quads[~outside][:, _FROM_INSIDE]])
    gamma = vertices.gamma[quads]
    split_02 = gamma[:, 0] * gamma[:, 2] > gamma[:, 1] * gamma[:, 3]
    faces = np.where(split_02[:, None], quads[:, _SPLIT_02], quads[:, _SPLIT_13])
    return faces.reshape(-1, 3)


def _quads(surface: Surface, of_edge: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (Q, 4) around each inner crossed edge, and the point (Q,) where the edge starts."""
    first, second = EDGES.T
    cube, edge = np.nonzero(surface.inside[:, first] != surface.inside[:, second])
    codes = surface.corners[cube, first[edge]] * 3 + EDGE_KINDS[edge]
    shared_by_4 = np.bincount(codes, minlength=3 * len(surface.sdf)) == 4
    number = np.cumsum(shared_by_4, dtype=np.int32) - 1
    inner = shared_by_4[codes]
    cube, edge, codes = cube[inner], edge[inner], codes[inner]
    quads = np.empty((np.count_nonzero(shared_by_4), 4), np.int32)
    quads[number[codes], EDGE_RANKS[edge]] = of_edge[cube, edge]
    return quads, np.flatnonzero(shared_by_4) // 3
