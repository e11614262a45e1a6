"""Products of rows that are read through an index table: sparse convolutions.

`place` puts generated kernels into a Relax module; `decompose` is for pipelines without them.
"""

from sam_tvm.kernels.gathered.decomposition import decompose
from sam_tvm.kernels.gathered.placement import place

__all__ = ["decompose", "place"]
