import numpy as np
import pytest
from relax_programs import compiled, normal, runnable_targets
from tvm import relax

op = relax.op
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


@TARGETS
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 16), (4, 67), (20, 1024), (2, 3, 300)])
def test_softmax_equals_float64(shape, target):
    run = compiled(lambda x: op.nn.softmax(x, axis=-1), (shape, "float32"), target=target)
    x = 5 * normal(*shape)
    power = np.exp(x.astype("float64") - x.max(axis=-1, keepdims=True))
    # x - max is rounded, by up to half an ulp of 40: 2e-6 of its exponential.
    np.testing.assert_allclose(run(x), power / power.sum(axis=-1, keepdims=True), rtol=4e-6)


def test_softmax_of_symbolic_size_with_masked_entries_equals_float64():
    run = compiled(lambda x: op.nn.softmax(x, axis=-1), (("h", "n", "n"), "float32"))
    assert list(run.rules.values()) == ["reduction"]
    for heads, n in [(1, 2), (2, 17), (3, 131)]:
        x = normal(heads, n, n)
        x[:, :, n // 2] = -np.inf
        power = np.exp(x.astype("float64") - x.max(axis=-1, keepdims=True))
        np.testing.assert_allclose(run(x), power / power.sum(axis=-1, keepdims=True), rtol=2e-6)


@TARGETS
def test_layer_norm_with_a_large_mean_equals_float64(target):
    def build(x, weight, bias):
        return op.nn.layer_norm(x, weight, bias, axes=[-1], epsilon=1e-6)

    run = compiled(
        build, (("n", 70), "float32"), ((70,), "float32"), ((70,), "float32"), target=target
    )
    weight, bias = normal(70, seed=1), normal(70, seed=2)
    for rows in (1, 3, 65):
        x = normal(rows, 70) + 2
        wide = x.astype("float64")
        scale = np.sqrt(wide.var(axis=-1, keepdims=True) + 1e-6)
        exact = (wide - wide.mean(axis=-1, keepdims=True)) / scale * weight + bias
        np.testing.assert_allclose(run(x, weight, bias), exact, rtol=1e-5, atol=1e-5)


@TARGETS
@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (1, 2), (0, 1, 2)])
def test_mean_over_any_axes_equals_float64(axis, target):
    check_reduction("mean", np.mean, axis, target)


@pytest.mark.parametrize("axis", [0, 2, (0, 1, 2)])
@pytest.mark.parametrize(("name", "exact"), [("sum", np.sum), ("max", np.max), ("min", np.min)])
def test_other_reductions_equal_float64(name, exact, axis):
    check_reduction(name, exact, axis, None)


def check_reduction(name, exact, axis, target):
    axes = [axis] if isinstance(axis, int) else list(axis)
    run = compiled(
        lambda x: getattr(op, name)(x, axis=axes), ((6, 35, 50), "float32"), target=target
    )
    x = normal(6, 35, 50)
    np.testing.assert_allclose(run(x), exact(x.astype("float64"), axis=axis), rtol=1e-5, atol=1e-5)


def test_reductions_over_symbolic_axes_equal_float64():
    for axis in (0, 1):
        run = compiled(lambda x, a=axis: op.sum(x, axis=[a]), (("n", "m"), "float32"))
        for shape in [(1, 1), (5, 3), (70, 33), (64, 129)]:
            x = normal(*shape)
            np.testing.assert_allclose(run(x), x.astype("float64").sum(axis), rtol=1e-5, atol=1e-5)


@TARGETS
@pytest.mark.parametrize("columns", [3, 40, 130, 517])
def test_sums_of_rows_that_lie_far_apart_equal_float64(columns, target):
    shape = (5000, columns)
    run = compiled(lambda x: op.sum(x, axis=[0]), (shape, "float32"), target=target)
    x = normal(*shape)
    # Chains of 1250 numbers near 1, whose sums reach 100.
    np.testing.assert_allclose(run(x), x.astype("float64").sum(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("columns", [1, 17, 31, 33, 100])
def test_the_last_columns_of_a_reduction_equal_float64(columns):
    run = compiled(lambda x: op.max(x, axis=[1]), ((3, 50, columns), "float32"))
    x = normal(3, 50, columns)
    np.testing.assert_array_equal(run(x), x.max(1))


def test_argmax_equals_numpy():
    run = compiled(lambda x: op.argmax(x, axis=-1), (("n", 77), "float32"))
    for rows in (1, 40):
        x = normal(rows, 77)
        np.testing.assert_array_equal(run(x), x.argmax(-1))


def test_long_sums_are_more_accurate_than_one_sequential_sum():
    x = np.abs(normal(4, 1 << 16))
    run = compiled(lambda x: op.sum(x, axis=[1]), (x.shape, "float32"))
    exact = x.astype("float64").sum(1)
    sequential = np.cumsum(x, axis=1, dtype="float32")[:, -1]
    assert np.abs(run(x) - exact).max() < np.abs(sequential - exact).max() / 10
