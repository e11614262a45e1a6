"""A pointmap from MoGe, the depth model that the reference uses, where it is installed.

MoGe needs PyTorch and fetches its weights; the runtime does neither, so this lies outside of it.
Without it, a pointmap comes from a file.
"""

from __future__ import annotations

import numpy as np

from sam_tvm.runtime.errors import PointmapError
from sam_tvm.runtime.reconstruction.pointmap import from_opencv_camera

MODEL = "Ruicheng/moge-vitl"  # named by the checkpoint's pipeline.yaml


def moge_pointmap(pixels: np.ndarray) -> np.ndarray:
    """Estimate the pointmap of a picture.

    As in ``InferencePipelinePointMap.compute_pointmap``, with ``force_projection=False``.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (H, W, 3) float32, in PyTorch3D's camera frame; infinite where there is no depth.

    Raises:
        PointmapError: MoGe is not installed, or its weights cannot be had.

    """
    try:
        import torch
        from moge.model.v1 import MoGeModel
    except ImportError as error:
        raise PointmapError(
            "no pointmap: give one with --pointmap FILE.npy, (height, width, 3), or install MoGe "
            "(github.com/microsoft/MoGe), which estimates it from the picture"
        ) from error
    try:
        model = MoGeModel.from_pretrained(MODEL).eval()
    except Exception as error:  # offline, no such file, a damaged download
        reason = " ".join(str(error).split())
        raise PointmapError(f"MoGe's weights {MODEL} cannot be loaded: {reason}") from error
    picture = torch.from_numpy((pixels.astype(np.float32) / 255).transpose(2, 0, 1).copy())
    with torch.inference_mode():
        points = model.infer(picture, force_projection=False)["points"]
    return from_opencv_camera(points.cpu().numpy().astype(np.float32))
