import numpy as np
import pytest
from relax_programs import compiled, nodes, normal
from tvm import relax, tirx


def resized(size, **options):
    return lambda x: relax.op.image.resize2d(
        x, size=size, layout="NCHW", method="nearest_neighbor", **options
    )


@pytest.mark.parametrize(
    ("before", "after"), [((5, 7), (10, 14)), ((5, 24), (15, 72)), ((6, 40), (6, 80))]
)
def test_enlarging_by_whole_factors_needs_no_floating_point(before, after):
    run = compiled(resized(after, rounding_method="round"), ((2, 3, *before), "float32"))
    assert not nodes(run, tirx.Cast)
    x = normal(2, 3, *before)
    rows, columns = (np.arange(b) * a // b for a, b in zip(before, after, strict=True))
    np.testing.assert_array_equal(run(x), x[:, :, rows][:, :, :, columns])


@pytest.mark.parametrize(
    ("before", "after"), [((9, 37), (14, 50)), ((14, 51), (7, 17)), ((1, 20), (4, 30))]
)
def test_other_factors_equal_float64(before, after):
    run = compiled(resized(after, rounding_method="round"), ((1, 2, *before), "float32"))
    x = normal(1, 2, *before)
    rows, columns = (
        np.clip(np.rint((np.arange(b) + 0.5) * (a / b) - 0.5), 0, a - 1).astype(int)
        for a, b in zip(before, after, strict=True)
    )
    np.testing.assert_array_equal(run(x), x[:, :, rows][:, :, :, columns])


def test_positions_on_a_tie_are_left_to_the_machine():
    # (x + 0.5) / 3 * 1.5 - 0.5 has halves, which another order of rounding could miss.
    run = compiled(resized((2, 30), rounding_method="round"), ((1, 1, 2, 90), "float32"))
    x = normal(1, 1, 2, 90)
    np.testing.assert_array_equal(run(x), x[:, :, :, 1::3])
