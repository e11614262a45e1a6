"""Results that go past the caches: that small tasks wait together, and that nothing is lost."""

import numpy as np
import pytest
import tvm_ffi
from relax_programs import Compiled, compiled, host_target, nodes, normal, tile_target
from tvm import relax, tirx
from tvm.ir import Call

op = relax.op


def scaled(x, norm, gain):
    """A result whose tasks, one for each norm, write four cache lines."""
    return op.multiply(op.divide(x, op.sqrt(norm)), gain)


def of_rows(rows) -> Compiled:
    shapes = [(rows, 16, 64), (rows, 16, 1), (16, 64)]
    inputs = ((shape, "float32") for shape in shapes)
    return compiled(scaled, *inputs, target=tile_target() or host_target())


def waits(statement: tirx.Stmt) -> int:
    """How many calls wait for what was streamed."""
    found: list[Call] = []
    tvm_ffi.structural_walk(statement, (Call, found.append))
    return sum(getattr(call.args[0], "value", "") == "sam_tvm_stream_end" for call in found)


@pytest.mark.skipif(tile_target() is None, reason="streams with AMX alone")
def test_small_tasks_wait_for_what_they_stream_in_groups():
    (tasks,) = [
        loop for loop in nodes(of_rows("m"), tirx.For) if loop.kind == tirx.ForKind.PARALLEL
    ]
    steps, wait = tasks.body
    assert isinstance(steps, tirx.For)
    assert waits(steps) == 0 and waits(wait) == 1


@pytest.mark.parametrize("rows", [1, 3, 37])
def test_groups_that_tasks_do_not_fill(rows):
    x, norm, gain = normal(rows, 16, 64), abs(normal(rows, 16, 1, seed=1)), normal(16, 64, seed=2)
    exact = x.astype("float64") / np.sqrt(norm.astype("float64")) * gain
    np.testing.assert_allclose(of_rows("m")(x, norm, gain), exact, rtol=1e-6, atol=1e-6)
