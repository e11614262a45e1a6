"""Plans for networks on occupied voxels: index tables that the host makes of their positions.

The networks themselves then only take rows and multiply. A table whose entries may be missing
counts from 1 and says 0 for "missing"; an index that always exists counts from 0. All are int32.
"""

from sam_tvm.runtime.sparse.hierarchy import Coarse, coarsen
from sam_tvm.runtime.sparse.neighbours import OFFSETS, neighbour_table
from sam_tvm.runtime.sparse.reduction import VOXEL_LIMIT, downsample_to_limit, prune_interior
from sam_tvm.runtime.sparse.subdivision import (
    CHILDREN,
    SubdivisionTable,
    subdivide,
    subdivision_table,
)
from sam_tvm.runtime.sparse.voxels import check_voxels
from sam_tvm.runtime.sparse.windows import WindowPlan, window_plan

__all__ = [
    "CHILDREN",
    "OFFSETS",
    "VOXEL_LIMIT",
    "Coarse",
    "SubdivisionTable",
    "WindowPlan",
    "check_voxels",
    "coarsen",
    "downsample_to_limit",
    "neighbour_table",
    "prune_interior",
    "subdivide",
    "subdivision_table",
    "window_plan",
]
