"""Perceptrons of a few inputs and outputs: which calls become the kernel, and its numbers."""

import numpy as np
import pytest
from relax_programs import Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels import perceptrons

op = relax.op
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


def perceptron(rows, inputs, hidden, outputs, activation=op.nn.relu, bias_first=False):
    """The module of relu(x @ w1 + b1) @ w2, parameters after x."""

    def build(x, first, bias, second):
        product = op.matmul(x, first)
        added = op.add(bias, product) if bias_first else op.add(product, bias)
        return op.matmul(activation(added), second)

    shapes = [(*rows, inputs), (inputs, hidden), (hidden,), (hidden, outputs)]
    module = function(build, *[(shape, "float32") for shape in shapes])
    module["main"] = module["main"].with_attr("num_input", 1)
    return module


def placed(module, target=None):
    return perceptrons.place(target or host_target())(module)


def is_placed(module) -> bool:
    return "perceptron" in placed(module).script()


@TARGETS
@pytest.mark.parametrize(
    ("rows", "sizes"),
    [((1, 1), (1, 1, 1)), ((3, 67), (2, 256, 8)), ((37, 1), (4, 130, 16)), ((2, 64), (3, 63, 5))],
)
def test_results_equal_float64(rows, sizes, target):
    inputs, hidden, outputs = sizes
    run = Compiled(placed(perceptron(("b", "n"), *sizes), target), target)
    x, first = normal(*rows, inputs), normal(inputs, hidden, seed=1)
    bias, second = normal(hidden, seed=2), normal(hidden, outputs, seed=3)
    exact = np.maximum(x.astype("float64") @ first + bias, 0) @ second.astype("float64")
    scale = np.abs(second).sum(0).max() * np.abs(x).max()
    np.testing.assert_allclose(run(x, first, bias, second), exact, rtol=1e-5, atol=1e-6 * scale)


def test_the_bias_may_come_first():
    assert is_placed(perceptron((9,), 2, 32, 8, bias_first=True))


@pytest.mark.parametrize("sizes", [(5, 32, 8), (2, 32, 17)])
def test_wide_layers_stay_products(sizes):
    assert not is_placed(perceptron((9,), *sizes))


def test_another_activation_stays():
    assert not is_placed(perceptron((9,), 2, 32, 8, activation=op.nn.silu))
