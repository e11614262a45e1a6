"""Bilinear samples of a picture, a vector of channels at a time: single points and means of boxes.

`place` puts generated kernels in the place of Relax's `grid_sample` and `roi_align`.
"""

from sam_tvm.kernels.sampling.placement import place

__all__ = ["place"]
