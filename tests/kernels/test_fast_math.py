import math

import numpy as np
import pytest
from relax_programs import compiled, runnable_targets
from tvm import relax

TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)
SPECIAL = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    88.7228,
    88.73,
    -103.97,
    -103.98,
    1e38,
]


def whole_range() -> np.ndarray:
    """Every 50021st float32 of either sign, a dense middle, and the special values."""
    positive = np.arange(0, 0x7F800000, 50021, dtype=np.uint32).view("float32")
    middle = np.concatenate([np.linspace(-110, 95, 200003), np.linspace(-5, 5, 200001)])
    return np.concatenate([positive, -positive, middle, SPECIAL]).astype("float32")


def exact_erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(v) for v in x.astype("float64")])


FUNCTIONS = {
    "exp": (relax.op.exp, np.exp, 1.0),
    "erf": (relax.op.erf, exact_erf, 1.25),
    "tanh": (relax.op.tanh, np.tanh, 1.5),
}


def errors_in_ulp(result: np.ndarray, exact: np.ndarray) -> np.ndarray:
    spacing = np.maximum(np.spacing(np.abs(exact.astype("float32"))).astype("float64"), 2.0**-149)
    return np.abs(result.astype("float64") - exact) / spacing


@TARGETS
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.filterwarnings("ignore:overflow")
def test_polynomial_equals_float64_over_the_whole_range(name, target):
    build, exact_function, limit = FUNCTIONS[name]
    run = compiled(build, (("n",), "float32"), target=target)
    x = whole_range()
    result, exact = run(x), exact_function(x.astype("float64"))
    expected = exact.astype("float32")
    assert (np.isnan(result) == np.isnan(expected)).all()
    assert (np.isposinf(result) == np.isposinf(expected)).all()
    finite = np.isfinite(expected)
    assert errors_in_ulp(result[finite], exact[finite]).max() <= limit


@TARGETS
def test_sigmoid_equals_float64(target):
    run = compiled(relax.op.sigmoid, (("n",), "float32"), target=target)
    x = np.concatenate([np.linspace(-80, 110, 100003), [np.inf, -np.inf]]).astype("float32")
    exact = 1 / (1 + np.exp(-x.astype("float64")))
    assert errors_in_ulp(run(x), exact).max() <= 2.5
    assert np.isnan(run(np.array([np.nan], "float32"))).all()


def test_guarded_calls_keep_their_guard():
    def build(x):
        return relax.op.nn.pad(relax.op.exp(x), [2, 3])

    run = compiled(build, ((20,), "float32"))
    x = np.linspace(-3, 3, 20).astype("float32")
    np.testing.assert_allclose(run(x), np.pad(np.exp(x.astype("float64")), (2, 3)), rtol=1e-6)
