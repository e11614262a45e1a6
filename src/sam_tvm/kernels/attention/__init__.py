"""Flash attention: softmax(scale * q k^T + bias) v without a matrix of scores.

`place` puts generated kernels into a Relax module; `decompose` is for pipelines without them.
"""

from sam_tvm.kernels.attention.decomposition import decompose
from sam_tvm.kernels.attention.placement import place

__all__ = ["decompose", "place"]
