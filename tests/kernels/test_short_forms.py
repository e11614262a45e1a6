"""Shorter polynomials for what is rounded to bfloat16, against float64."""

import math

import numpy as np
import pytest
import tvm
from relax_programs import mapped, runnable_targets
from tvm import tirx

from sam_tvm.kernels.expressions import calls
from sam_tvm.kernels.fastmath import expand_calls
from sam_tvm.kernels.loops import loop, vector
from sam_tvm.kernels.short_forms import shortened
from sam_tvm.kernels.vectors import index

TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


def number(value: float):
    return tirx.FloatImm("float32", value)


def erf(x):
    return tirx.erf(x)


def gelu(x):
    return x * (number(0.5) + tirx.erf(x * number(math.sqrt(0.5))) * number(0.5))


def run(build, x: np.ndarray, target) -> np.ndarray:
    def make(source, result):
        def step(i):
            def lane(k):
                at = i * 16 + k
                value = shortened(build(tirx.BufferLoad(source, [at])))
                return tirx.BufferStore(result, value, [at])

            return vector(16, index(0), lane)

        return expand_calls(loop(index(x.size // 16), step, "i"))

    return mapped(make, x, target)


def arguments() -> np.ndarray:
    x = np.concatenate([np.linspace(-30, 30, 99992), [0.0, -0.0, 1e-30, np.nan, 3e4, 1e-3]])
    return np.resize(x, -(-x.size // 16) * 16).astype("float32")


@TARGETS
def test_erf_errs_by_less_than_rounding(target):
    x = arguments()
    exact = np.vectorize(math.erf)(x.astype("float64"))
    result = run(erf, x, target)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(x))
    assert np.nanmax(np.abs(result - exact)) < 4.2e-5


@TARGETS
def test_gelu_errs_as_its_erf_does(target):
    x = arguments()
    exact = x.astype("float64") * (0.5 + 0.5 * np.vectorize(math.erf)(x / math.sqrt(2)))
    result = run(gelu, x, target)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(x))
    assert np.nanmax(np.abs(result - exact) / np.maximum(np.abs(x), 1e-3)) < 2.1e-5


def test_gelu_is_one_form_and_its_look_alikes_are_not():
    x, y = (tirx.Var(name, "float32") for name in "xy")
    whole, other = shortened(gelu(x)), shortened(y * gelu(x).b)
    assert isinstance(whole, tvm.ir.Call) and whole.args[0].value.endswith("gelu")
    assert isinstance(other, tirx.Mul)
    assert "tirx.erf" not in calls(whole) | calls(other)
