"""Reads that run backwards through quotients are right: TVM's own analysis gets them wrong."""

import numpy as np
import pytest
from relax_programs import compiled, normal, runnable_targets
from tvm import relax

op = relax.op
TARGETS = runnable_targets()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.get("mcpu", "generic"))
@pytest.mark.parametrize(
    ("size", "times", "again"), [(6, 5, 2), (40, 4, 1), (7, 3, 4), (33, 16, 2), (17, 2, 3)]
)
def test_a_repeated_row_backwards_is_exact(target, size, times, again):
    def build(x):
        backwards = op.flip(op.repeat(x, times, 0), 0)
        return op.add(op.repeat(backwards, again, 0), relax.const(1.0, "float32"))

    x = normal(size)
    run = compiled(build, ((size,), "float32"), target=target)
    np.testing.assert_array_equal(run(x), np.repeat(np.repeat(x, times)[::-1], again) + 1)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.get("mcpu", "generic"))
def test_a_turned_picture_read_backwards_in_other_rows_is_exact(target):
    def build(x):
        rows = op.flip(op.reshape(x, (7, 48, 5)), 2)
        return op.add(op.concat([rows, op.flip(rows, 0)], 0), relax.const(1.0, "float32"))

    x = normal(7, 6, 40)
    rows = x.reshape(7, 48, 5)[:, :, ::-1]
    run = compiled(build, ((7, 6, 40), "float32"), target=target)
    np.testing.assert_array_equal(run(x), np.concatenate([rows, rows[::-1]]) + 1)


def test_running_sums_of_a_row_read_backwards_are_right():
    """The fallback's loops are shielded too."""
    x = normal(12)

    def build(x):
        return op.cumsum(op.flip(op.repeat(x, 5, 0), 0), axis=0)

    run = compiled(build, ((12,), "float32"))
    exact = np.cumsum(np.repeat(x.astype("float64"), 5)[::-1])
    np.testing.assert_allclose(run(x), exact, atol=1e-5)
