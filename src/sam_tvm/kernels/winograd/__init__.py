"""Convolutions with 3x3 weights by Winograd's minimal filtering.

`convolve` leaves the operator where that `pays`, and `place` puts generated kernels in its place.
"""

from sam_tvm.kernels.winograd.call import convolve
from sam_tvm.kernels.winograd.placement import place

__all__ = ["convolve", "place"]
