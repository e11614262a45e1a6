"""A picture of the Gaussians from a few sides, so that a person sees what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam_tvm.runtime.reconstruction.gaussians import Gaussians
from sam_tvm.runtime.reconstruction.splat import View, render

VIEWS = tuple(View(yaw) for yaw in (0.0, 90.0, 180.0, 270.0))


def preview(gaussians: Gaussians, size: int = 320, views: Sequence[View] = VIEWS) -> np.ndarray:
    """Render Gaussians from several sides, side by side.

    Returns:
        (size, len(views) * size, 3) uint8.

    """
    return np.concatenate([render(gaussians, view, size) for view in views], axis=1)


def write_preview(
    path: str | Path, gaussians: Gaussians, size: int = 320, views: Sequence[View] = VIEWS
) -> None:
    """Write `preview` as a PNG file."""
    Image.fromarray(preview(gaussians, size, views)).save(path, format="PNG")
