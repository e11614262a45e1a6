"""Flash attention: softmax(scale * q k^T + bias) v without a matrix of scores.

`place` and `place_windows` put generated kernels into a Relax module, `project_few_queries` and
`keep_row_order` prepare it for them; `decompose` is for pipelines without them.
"""

from sam_tvm.kernels.attention.decomposition import decompose
from sam_tvm.kernels.attention.few_queries import project_few_queries
from sam_tvm.kernels.attention.placement import place
from sam_tvm.kernels.attention.row_order import keep_row_order
from sam_tvm.kernels.attention.windows import place_windows

__all__ = ["decompose", "keep_row_order", "place", "place_windows", "project_few_queries"]
