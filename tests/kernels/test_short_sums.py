import numpy as np
import pytest
from relax_programs import Compiled, function, normal, runnable_targets
from tvm import relax


def embedding(x, weight, bias):
    return relax.op.nn.relu(relax.op.add(relax.op.matmul(x, weight), bias))


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
@pytest.mark.parametrize("terms", [1, 2, 3, 4])
def test_product_of_few_terms_joins_what_follows(target, terms):
    shapes = ((5, 7, terms), (terms, 37), (37,))
    run = Compiled(function(embedding, *((shape, "float32") for shape in shapes)), target)
    x, weight, bias = (normal(*shape, seed=seed) for seed, shape in enumerate(shapes))
    exact = np.maximum(x.astype("float64") @ weight + bias, 0)
    assert set(run.rules.values()) == {"elementwise"}
    np.testing.assert_allclose(run(x, weight, bias), exact, rtol=1e-6, atol=1e-6)


def test_sum_of_few_terms_over_a_symbolic_size():
    run = Compiled(function(lambda x: relax.op.sum(x, axis=[1]), (("n", 3, 5), "float32")))
    for rows in (1, 2, 33):
        x = normal(rows, 3, 5)
        np.testing.assert_allclose(run(x), x.astype("float64").sum(1), rtol=1e-6, atol=1e-6)


def test_sum_of_five_terms_stays_a_reduction():
    run = Compiled(function(lambda x: relax.op.sum(x, axis=[1]), ((40, 5, 9), "float32")))
    x = normal(40, 5, 9)
    assert set(run.rules.values()) == {"reduction"}
    np.testing.assert_allclose(run(x), x.astype("float64").sum(1), rtol=1e-6, atol=1e-6)
