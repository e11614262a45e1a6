"""Which values are computed again for each reader, and that the results stay the same."""

import numpy as np
import pytest
from relax_programs import Compiled, function, normal
from tvm import relax

from sam_tvm.kernels.graph import recomputation

op = relax.op


def module_of(build, *shapes):
    module = function(build, *[(shape, "float32") for shape in shapes])
    module["main"] = module["main"].with_attr("num_input", len(shapes))
    return module


def normalised(x):
    mean = op.divide(op.sum(x, axis=[1, 2], keepdims=True), relax.const(70.0 * 33))
    centred = op.subtract(x, mean)
    variance = op.divide(
        op.sum(op.multiply(centred, centred), axis=[1, 2], keepdims=True), relax.const(70.0 * 33)
    )
    return op.divide(centred, op.sqrt(op.add(variance, relax.const(1e-5))))


def subtractions(module) -> int:
    return recomputation.recompute_differences()(module).script().count("R.subtract")


@pytest.mark.parametrize("shape", [(3, 70, 33), ("b", 70, 33)])
def test_a_norm_subtracts_its_mean_for_each_reader(shape):
    module = module_of(normalised, shape)
    assert subtractions(module) == 2
    run = Compiled(recomputation.recompute_differences()(module))
    x = normal(3, 70, 33)
    exact = x.astype("float64")
    exact = exact - exact.mean((1, 2), keepdims=True)
    exact /= np.sqrt((exact**2).mean((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(run(x), exact, rtol=1e-5, atol=1e-6)


def test_a_sum_of_two_large_operands_is_stored():
    def build(x, y):
        both = op.subtract(x, y)
        return op.add(op.multiply(both, both), op.add(x, both))

    assert subtractions(module_of(build, (70, 33), (70, 33))) == 1


def test_what_nobody_else_reads_is_not_stored_for_it():
    """Here x - y is in memory once, and x would have to be beside it."""

    def build(x, y):
        product = op.multiply(x, x)
        both = op.subtract(product, y)
        return op.add(op.multiply(both, both), op.divide(both, y))

    assert subtractions(module_of(build, (70, 33), (1, 33))) == 1
