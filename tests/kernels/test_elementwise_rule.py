import numpy as np
import pytest
from relax_programs import compiled, normal, runnable_targets
from tvm import relax

op = relax.op
SHAPES = [(1,), (7,), (16,), (1000, 3), (5, 1, 17), (3, 64, 33)]


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
@pytest.mark.parametrize("shape", SHAPES)
def test_sum_of_products_equals_numpy(shape, target):
    run = compiled(
        lambda x, y: op.add(op.multiply(x, y), x),
        (shape, "float32"),
        (shape, "float32"),
        target=target,
    )
    x, y = normal(*shape), normal(*shape, seed=1)
    np.testing.assert_allclose(run(x, y), x.astype("float64") * y + x, rtol=1e-6, atol=1e-6)


def test_symbolic_sizes_and_broadcast_equal_numpy():
    run = compiled(op.add, (("b", "n", 24), "float32"), (("n", 1), "float32"))
    for batch, n in [(1, 1), (1, 3), (2, 17), (3, 640)]:
        x, y = normal(batch, n, 24), normal(n, 1, seed=1)
        np.testing.assert_array_equal(run(x, y), x + y)


@pytest.mark.parametrize(
    ("shape", "order"),
    [((40, 50), (1, 0)), ((2, 3, 4, 5), (2, 0, 3, 1)), ((1, 33, 17, 19), (0, 2, 3, 1))],
)
def test_transposition_moves_every_element(shape, order):
    run = compiled(lambda x: op.permute_dims(x, list(order)), (shape, "float32"))
    x = normal(*shape)
    np.testing.assert_array_equal(run(x), x.transpose(order))


def test_symbolic_transposition_moves_every_element():
    run = compiled(lambda x: op.permute_dims(x, [1, 0, 2]), (("n", "b", 12), "float32"))
    for n, batch in [(1, 1), (5, 2), (33, 3)]:
        x = normal(n, batch, 12)
        np.testing.assert_array_equal(run(x), x.transpose(1, 0, 2))


def test_window_partition_moves_every_element():
    def windows(x):
        x = op.reshape(x, (1, 3, 6, 3, 6, 20))
        return op.reshape(op.permute_dims(x, [0, 1, 3, 2, 4, 5]), (9, 6, 6, 20))

    x = normal(1, 18, 18, 20)
    expected = x.reshape(1, 3, 6, 3, 6, 20).transpose(0, 1, 3, 2, 4, 5).reshape(9, 6, 6, 20)
    np.testing.assert_array_equal(compiled(windows, (x.shape, "float32"))(x), expected)


def test_concatenation_padding_and_gather_equal_numpy():
    def build(x, y, index):
        joined = op.concat([x, y], axis=1)
        padded = op.nn.pad(joined, [0, 0, 1, 2])
        return op.take(padded, index, axis=0)

    run = compiled(build, ((9, 17), "float32"), ((9, 20), "float32"), ((5,), "int64"))
    x, y, index = normal(9, 17), normal(9, 20, seed=1), np.array([8, 0, 3, 3, 1])
    expected = np.pad(np.concatenate([x, y], axis=1), [(0, 0), (1, 2)])[index]
    np.testing.assert_array_equal(run(x, y, index), expected)


def test_boolean_and_integer_types_equal_numpy():
    def build(x, y):
        return op.where(
            op.logical_not(op.greater(x, y)), op.astype(x, "int64"), op.astype(y, "int64")
        )

    x, y = 10 * normal(7, 45), 10 * normal(7, 45, seed=1)
    run = compiled(build, ((7, 45), "float32"), ((7, 45), "float32"))
    np.testing.assert_array_equal(
        run(x, y), np.where(~(x > y), x.astype("int64"), y.astype("int64"))
    )


def test_scatter_equals_numpy():
    run = compiled(
        lambda data, index, updates: op.scatter_elements(data, index, updates, axis=0),
        ((50, 8), "float32"),
        ((3, 8), "int64"),
        ((3, 8), "float32"),
    )
    data, updates = normal(50, 8), normal(3, 8, seed=1)
    index = np.stack([np.arange(8), np.arange(8) + 8, np.arange(8) + 16])
    expected = data.copy()
    np.put_along_axis(expected, index, updates, axis=0)
    np.testing.assert_array_equal(run(data, index, updates), expected)


def test_cumulative_sum_equals_numpy():
    run = compiled(lambda x: op.cumsum(x, axis=1), ((3, 50), "float32"))
    x = normal(3, 50)
    np.testing.assert_allclose(run(x), np.cumsum(x.astype("float64"), axis=1), atol=1e-5)
