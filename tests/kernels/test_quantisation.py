"""Products with int8 weights: exact but for the rounding of the weight."""

from dataclasses import replace

import numpy as np
import pytest
from relax_programs import Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels.graph import packing, quantisation
from sam_tvm.kernels.graph.panels import panels_for


def label(target) -> str:
    return target.get("mcpu", "generic")


def quantised(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The integers and the scales, by numpy."""
    largest = np.abs(weight).max(0)
    scale = np.where(largest == 0, np.float32(1), largest / np.float32(127))
    return np.clip(np.round(weight / scale), -127, 127), scale


def product(target, rows, terms, columns, epilogue=None, others=()) -> Compiled:
    """Return x @ w with the weight rounded and packed in the same function."""

    def build(x, weight, *rest):
        result = relax.op.matmul(x, weight)
        return epilogue(result, *rest) if epilogue else result

    shapes = [((rows, terms), "float32"), ((terms, columns), "float32")]
    module = function(build, *shapes, *((shape, "float32") for shape in others))
    module["main"] = module["main"].with_attr("num_input", 1)
    panels = replace(panels_for(target, "float32"), int8=True)
    module = packing.pack_weights(panels)(module)
    return Compiled(relax.transform.CanonicalizeBindings()(module), target)


# One row and many, several panels, a panel that is not full, sums of several chunks.
SIZES = [(1, 16, 16), (7, 37, 53), (65, 300, 97), (31, 4736, 130), (200, 24, 64)]


@pytest.mark.parametrize("target", runnable_targets(), ids=label)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_product_equals_float64_with_the_rounded_weight(target, size):
    rows, terms, columns = size
    run = product(target, rows, terms, columns)
    x, weight = normal(rows, terms), normal(terms, columns, seed=1)
    weight[:, 3] = 0
    steps, scale = quantised(weight)
    exact = x.astype("float64") @ (steps.astype("float64") * scale)
    np.testing.assert_allclose(run(x, weight), exact, atol=4e-7 * np.sqrt(terms) * 10, rtol=1e-5)
    assert sorted(set(run.rules.values())) == ["elementwise", "matmul", "reduction"]


def test_any_number_of_rows_equals_float64():
    run = product(host_target(), "n", 513, 129)
    weight = normal(513, 129, seed=1)
    steps, scale = quantised(weight)
    for rows in (1, 6, 77, 200):
        x = normal(rows, 513)
        exact = x.astype("float64") @ (steps.astype("float64") * scale)
        np.testing.assert_allclose(run(x, weight), exact, atol=1e-4, rtol=1e-5)


def test_scale_bias_and_residual_join_the_product():
    def epilogue(result, bias, residual):
        return relax.op.add(relax.op.nn.relu(relax.op.add(result, bias)), residual)

    run = product(host_target(), 50, 25, 41, epilogue, ((41,), (50, 41)))
    assert list(run.rules.values()).count("matmul") == 1
    assert not [name for name in run.rules if "relu" in name and "matmul" not in name]
    x, weight, bias, residual = normal(50, 25), normal(25, 41), normal(41), normal(50, 41)
    steps, scale = quantised(weight)
    exact = np.maximum(x.astype("float64") @ (steps * scale.astype("float64")) + bias, 0) + residual
    np.testing.assert_allclose(run(x, weight, bias, residual), exact, atol=1e-5, rtol=1e-5)


def test_weights_are_rounded_to_the_nearest_step_of_their_column():
    def build(weight):
        steps, scale = quantisation.quantise(relax.BlockBuilder.current(), weight)
        return relax.Tuple([steps, scale])

    weight = normal(40, 30) * np.logspace(-20, 20, 30, dtype="float32")
    weight[:, 5] = 0
    weight[0, 6] = -np.abs(weight[:, 6]).max() * 2
    steps, scale = Compiled(function(build, ((40, 30), "float32")))(weight)
    assert steps.dtype == np.int8
    assert steps.min() == -127
    assert not steps[:, 5].any() and scale[5] == 1
    assert (np.abs(steps * scale - weight) <= 0.5001 * scale).all()
    expected, scales = quantised(weight)
    np.testing.assert_allclose(scale, scales, rtol=1e-6)
    assert (np.abs(steps - expected) <= 1).all() and (steps != expected).mean() < 0.01
