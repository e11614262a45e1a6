"""Convolutions with a weight: channels last, each in the form that suits it.

`channels_last` turns them into products, or leaves them to `winograd`, and moves permutations away
from between them.
"""

from sam_tvm.kernels.convolutions.placement import channels_last

__all__ = ["channels_last"]
