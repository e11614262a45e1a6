"""Vectors in TIR, and e**x on them."""

import numpy as np
import pytest
from relax_programs import mapped, runnable_targets

from sam_tvm.kernels.attention.softmax import exponential
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, Lanes, index, transpose

TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


@TARGETS
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_squares_are_transposed_in_registers(lanes, target):
    def make(x, y):
        code = Code(Lanes(lanes))
        rows = [code.name("row", code.lanes.load(x, i * lanes)) for i in range(lanes)]
        for i, column in enumerate(transpose(code, rows)):
            code.add(code.lanes.store(y, column, i * lanes))
        return code.body()

    square = np.arange(lanes * lanes, dtype="float32")
    result = mapped(make, square, target).reshape(lanes, lanes)
    np.testing.assert_array_equal(result, square.reshape(lanes, lanes).T)


def exponentials(x: np.ndarray, bfloat16: bool, target) -> np.ndarray:
    def make(source, target_buffer):
        lanes = Lanes(16)

        def step(i):
            code = Code(lanes)
            value = code.name("x", lanes.load(source, i * 16))
            code.add(lanes.store(target_buffer, exponential(code, value, bfloat16), i * 16))
            return code.body()

        return loop(index(x.size // 16), step, "i")

    return mapped(make, x, target)


def arguments() -> np.ndarray:
    special = [0.0, -0.0, -1e-45, -87.3365, -87.34, -1e3, -1e30, -np.inf, np.nan]
    x = np.concatenate([-np.geomspace(1e-8, 90, 99991), np.linspace(-3, 0, 99992), special])
    return np.resize(x, -(-x.size // 16) * 16).astype("float32")


@TARGETS
@pytest.mark.parametrize(("bfloat16", "limit"), [(False, 1.3e-7), (True, 1e-4)])
def test_exponential_errs_little_beside_the_largest(bfloat16, limit, target):
    x = arguments()
    result, referee = exponentials(x, bfloat16, target), np.exp(x.astype("float64"))
    np.testing.assert_array_equal(np.isnan(result), np.isnan(x))
    assert (result[referee < np.finfo("float32").tiny] == 0).all()
    assert (result[x == 0] == 1).all() or bfloat16
    assert np.nanmax(np.abs(result - referee)) <= limit


@pytest.mark.parametrize(("lowest", "limit"), [(-10, 2.25), (-87.3, 5)])
def test_exponential_errs_little_beside_the_result(lowest, limit):
    x = arguments()
    x = x[(x >= lowest) & (x <= 0)][: x.size // 2 // 16 * 16]
    result, referee = exponentials(x, False, runnable_targets()[0]), np.exp(x.astype("float64"))
    units = np.abs(result - referee) / np.spacing(referee.astype("float32"))
    assert units.max() <= limit
