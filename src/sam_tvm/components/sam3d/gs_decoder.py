"""The decoder of structured latents to Gaussians."""

from sam_tvm.components.sam3d.gaussian_decoder import declare
from sam_tvm.models.sam3d import sparse_calls

COMPONENT = declare("gs_decoder", sparse_calls.gs_decoder, "num_gaussians")
