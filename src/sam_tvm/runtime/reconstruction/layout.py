"""The object's place in the scene, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm.runtime.reconstruction.mesh import OBJECT_TO_GLB
from sam_tvm.runtime.reconstruction.pose import Pose

FORMAT_VERSION = 1
_CAMERA = "x to the left, y up, z away from the camera; units of the pointmap"
_OBJECT = "z up, within the cube from -0.5 to 0.5; the Gaussians are stored in it"


def layout(pose: Pose, details: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a pose so that a scene can be put together from it.

    Args:
        pose: the object's.
        details: put in the end: what else is known of the reconstruction, fit for JSON.

    Returns:
        - ``frames``: the camera's and the object's frame, in words;
        - ``rotation`` (quaternion, real part first), ``translation``, ``scale``: as the reference
          gives them, see `Pose` for how they compose;
        - ``object_to_camera``: the same as rows of a 4 x 4 matrix that maps columns
          ``(x, y, z, 1)`` of the object to the camera's frame;
        - ``glb_to_camera``: the same for the mesh's file, which has y up.

    """
    object_to_camera = pose.matrix()
    return {
        "format_version": FORMAT_VERSION,
        "frames": {"camera": _CAMERA, "object": _OBJECT},
        "rotation": _numbers(pose.rotation),
        "translation": _numbers(pose.translation),
        "scale": _numbers(pose.scale),
        "object_to_camera": _numbers(object_to_camera),
        "glb_to_camera": _numbers(object_to_camera @ _homogeneous(OBJECT_TO_GLB.T)),
        **details,
    }


def write_layout(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write what `layout` returned.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.

    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _homogeneous(matrix: np.ndarray) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = matrix
    return result


def _numbers(values: np.ndarray) -> list[Any]:
    """Return nested lists of the shortest decimals that read back as the same float32."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(str(value)) for value in values.astype(np.float32)]
