"""Groups of stages that share their outer loops, so that a row stays in cache between stages."""

from __future__ import annotations

from tvm.ir import TensorLoad, Var

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.program import Axis, Program, Stage, is_own_index

_ENOUGH_TASKS = 8  # a shared prefix with fewer iterations would leave cores idle


def group_stages(program: Program, alone: set[int]) -> list[tuple[list[Stage], int]]:
    """Split the stages, in order, into groups and the number of outer axes each shares.

    `alone` holds the positions of stages that must not be grouped; a group of one has prefix 0.
    """
    groups: list[tuple[list[Stage], int]] = []
    current: list[Stage] = []
    prefix = 0
    for position, stage in enumerate(program.stages):
        if current and position not in alone:
            shared = _shared_prefix(program, [*current, stage])
            if shared:
                current, prefix = [*current, stage], shared
                continue
        if current:
            groups.append((current, prefix))
        current, prefix = [stage], 0
        if position in alone:
            groups.append((current, 0))
            current = []
    if current:
        groups.append((current, prefix))
    return groups


def _shared_prefix(program: Program, stages: list[Stage]) -> int:
    """Return how many leading axes all stages can share; 0 if too few iterations to be worth it."""
    written = {buffer for stage in stages for buffer in stage.buffers}
    if not any(load.source in written for stage in stages for load in stage.reads()):
        return 0
    longest = min(_leading_spatial(stage) for stage in stages)
    for length in range(longest, 0, -1):
        if all(_agrees(program, stages[0], stage, length, written) for stage in stages):
            return length if _tasks(stages[0], length) >= _ENOUGH_TASKS else 0
    return 0


def _leading_spatial(stage: Stage) -> int:
    """Count leading spatial axes that index the output's leading dimensions as they are."""
    count = 0
    for axis, index in zip(stage.axes, stage.indices, strict=False):
        if axis.reduced or not is_own_index(index, axis):
            break
        count += 1
    return count


def _agrees(program: Program, first: Stage, stage: Stage, length: int, written: set[Var]) -> bool:
    own = stage.axes[:length]
    for a, b in zip(first.axes[:length], own, strict=True):
        if not program.analyzer.can_prove_equal(a.extent, b.extent):
            return False
    return all(_reads_own_row(load, own) for load in stage.reads() if load.source in written)


def _reads_own_row(load: TensorLoad, prefix: tuple[Axis, ...]) -> bool:
    return len(load.indices) >= len(prefix) and all(
        is_own_index(index, axis) for index, axis in zip(load.indices, prefix, strict=False)
    )


def _tasks(stage: Stage, length: int) -> int:
    """Return the known number of iterations; a symbolic axis counts as enough."""
    total = 1
    for axis in stage.axes[:length]:
        extent = constant_value(axis.extent)
        if extent is None:
            return _ENOUGH_TASKS
        total *= extent
    return total
