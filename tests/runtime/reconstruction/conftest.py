"""The reference's own code for what surrounds its networks.

`sam3d_objects` imports pytorch3d and matplotlib here, of which no wheel exists or nothing is used:
both are stood in for while a test module runs. pytorch3d's part is small, public mathematics; the
tests check it against scipy.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline.reconstruction.stand_ins import stand_ins


def _definitions(path: Path, names: set[str]) -> list[ast.stmt]:
    """Return functions and constants of a file, methods of its classes among them."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        named = getattr(node, "name", None)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named = node.targets[0].id
        if named in names:
            found.append(node)
    assert len(found) == len(names), f"{path}: {names}"
    return found


class Reference:
    """The reference's modules, and single functions of modules that need a GPU to import."""

    def __init__(self) -> None:
        from sam3d_objects.data.dataset.tdfy import (
            img_and_mask_transforms,
            img_processing,
            pose_target,
            preprocessor,
        )
        from sam3d_objects.model.backbone.generator import classifier_free_guidance
        from sam3d_objects.model.backbone.generator.flow_matching import model as flow_matching
        from sam3d_objects.model.backbone.generator.shortcut import model as shortcut

        self.transforms = img_and_mask_transforms
        self.padding = img_processing
        self.pose_target = pose_target
        self.preprocessor = preprocessor
        self.guidance = classifier_free_guidance
        self.flow_matching = flow_matching
        self.shortcut = shortcut
        self.folder = Path(preprocessor.__file__).parents[3]

    def take(self, file: str, *names: str, **namespace: Any) -> dict[str, Any]:
        """Run the definitions of `names` in a file of the package, without the rest of it."""
        path = self.folder / file
        module = ast.Module(body=_definitions(path, set(names)), type_ignores=[])
        exec(compile(module, str(path), "exec"), namespace)
        return namespace

    def pose_decoder(self) -> Callable[..., dict[str, torch.Tensor]]:
        return self.take(
            "pipeline/inference_utils.py",
            *("pose_decoder", "ROTATION_6D_MEAN", "ROTATION_6D_STD"),
            torch=torch,
            matrix_to_quaternion=sys.modules["pytorch3d.transforms"].matrix_to_quaternion,
            PoseTargetConverter=self.pose_target.PoseTargetConverter,
        )["pose_decoder"]("ScaleShiftInvariant")


@pytest.fixture(scope="module")
def reference() -> Iterator[Reference]:
    """The reference, importable while a test module runs."""
    with ExitStack() as stack:
        stack.enter_context(reference_environment("sam3d"))
        stack.enter_context(stand_ins())
        yield Reference()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def scene() -> Callable[[int, int, int], SimpleNamespace]:
    """Make a picture with an object: colours, a mask with an irregular edge, and a pointmap."""

    def make(height: int, width: int, seed: int) -> SimpleNamespace:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        across, down = rng.uniform(0.1, 0.4, 2) * (width, height)
        middle = rng.uniform(0.2, 0.8, 2) * (width, height)
        distance = np.hypot((x - middle[0]) / across, (y - middle[1]) / down)
        points = np.stack([x / width - 0.5, 0.5 - y / height, np.ones_like(x)], axis=2)
        depth = 2 + distance + rng.uniform(0, 0.1, distance.shape)
        return SimpleNamespace(
            image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
            mask=distance + rng.uniform(0, 0.2, distance.shape) < 1,
            pointmap=(points * depth[:, :, None]).astype(np.float32),
        )

    return make
