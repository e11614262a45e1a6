"""A cube's corners and edges, numbered as the case tables number them."""

from __future__ import annotations

import numpy as np

# Corner c lies at x = bit 0, y = bit 1, z = bit 2 of c.
CORNERS = np.array([[corner & 1, corner >> 1 & 1, corner >> 2 & 1] for corner in range(8)])

# Corners that each edge joins. Cubes that share an edge name its corners in the same order.
EDGES = np.array(
    [
        [0, 1], [1, 5], [4, 5], [0, 4],
        [2, 3], [3, 7], [6, 7], [2, 6],
        [2, 0], [3, 1], [7, 5], [6, 4],
    ]
)  # fmt: skip

_AXIS = np.abs(CORNERS[EDGES[:, 1]] - CORNERS[EDGES[:, 0]]).argmax(axis=1)

# Edges that start at one corner, ordered by the number of their other corner: along y, which they
# descend, then along z, then along x, whose steps are the longest.
EDGE_KINDS = np.array([2, 0, 1])[_AXIS]


def _ranks() -> np.ndarray:
    """Place of a cube among the four around its edge, in lexicographic order of the cubes."""
    ranks = []
    for (first, _), axis in zip(EDGES, _AXIS, strict=True):
        across = [other for other in range(3) if other != axis]
        # An edge on the cube's low side is on the high side of the cubes before it.
        before = 1 - CORNERS[first][across]
        ranks.append(2 * before[0] + before[1])
    return np.array(ranks)


EDGE_RANKS = _ranks()
