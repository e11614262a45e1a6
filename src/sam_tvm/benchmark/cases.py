"""What each component is timed on."""

from __future__ import annotations

import math

from sam_tvm.components.base import Case, Component

# Occupied voxels of an object: at full size what the reference's pictures give, else a few.
_VOXELS = {"full": 10_000}
_FEW_VOXELS = 1000


def default_voxels(preset: str) -> int:
    """Voxels that sparse components are timed on unless the user says otherwise."""
    return _VOXELS.get(preset, _FEW_VOXELS)


def timed_case(component: Component, voxels: int) -> Case:
    """The case of one prompt, which is what a user waits for; of sparse components so many voxels.

    Their own smallest case is a single voxel, which nobody waits for.
    """
    if component.tensor_only is not None:
        return Case(f"{voxels}_voxels", {"N": voxels})
    return min(component.cases, key=lambda case: math.prod(case.sizes.values()))


def label(component: Component, preset: str, voxels: int) -> str:
    """The component's name in the report; of another number of voxels a row of its own."""
    usual = component.tensor_only is None or voxels == default_voxels(preset)
    return component.name if usual else f"{component.name}@{voxels}"
