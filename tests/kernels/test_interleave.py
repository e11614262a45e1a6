import numpy as np
import pytest
from relax_programs import compiled, nodes, normal, runnable_targets
from tvm import relax, tirx

op = relax.op
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


def rotate(x, cos, sin):
    """Rotate neighbouring channels, as `real_rope` does."""
    *outer, width = (extent for extent in x.ty.shape)
    pairs = op.reshape(x, (*outer, width // 2, 2))
    axis = len(outer) + 1
    real, imaginary = (
        op.squeeze(op.strided_slice(pairs, [axis], [i], [i + 1]), [axis]) for i in (0, 1)
    )
    rotated = [
        op.subtract(op.multiply(real, cos), op.multiply(imaginary, sin)),
        op.add(op.multiply(real, sin), op.multiply(imaginary, cos)),
    ]
    joined = op.concat([op.expand_dims(part, [axis]) for part in rotated], axis=-1)
    return op.reshape(joined, (*outer, width))


@TARGETS
@pytest.mark.parametrize("shape", [(3, 5, 64), (2, 7, 46), (4, 1, 2), (1, 3, 34)])
def test_rotation_of_neighbouring_channels_equals_float64(shape, target):
    batch, length, width = shape
    table = (length, width // 2)
    run = compiled(
        rotate, (shape, "float32"), (table, "float32"), (table, "float32"), target=target
    )
    x, angle = normal(*shape), normal(*table, seed=1)
    cos, sin = np.cos(angle), np.sin(angle)
    pairs = x.astype("float64").reshape(batch, length, -1, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (cos + 1j * sin.astype("float64"))
    exact = np.stack([turned.real, turned.imag], -1).reshape(shape)
    np.testing.assert_allclose(run(x, cos, sin), exact, atol=1e-6)


def test_rotation_is_vectorised():
    shapes = [(3, 5, 64), (5, 32), (5, 32)]
    run = compiled(rotate, *[(shape, "float32") for shape in shapes])
    assert nodes(run, tirx.Shuffle)


@TARGETS
@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_stacked_values_equal_numpy(count, target):
    def build(*parts):
        return op.concat([op.expand_dims(part, [2]) for part in parts], axis=2)

    run = compiled(build, *[((7, 35), "float32")] * count, target=target)
    parts = [normal(7, 35, seed=i) for i in range(count)]
    np.testing.assert_array_equal(run(*parts), np.stack(parts, -1))


@TARGETS
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "int64", "float16", "float64"])
def test_stacked_values_of_any_type_equal_numpy(dtype, target):
    def build(x, y):
        return op.concat([op.expand_dims(part, [2]) for part in (x, y)], axis=2)

    run = compiled(build, ((7, 35), dtype), ((7, 35), dtype), target=target)
    x, y = ((3 * normal(7, 35, seed=i)).astype(dtype) for i in range(2))
    np.testing.assert_array_equal(run(x, y), np.stack([x, y], -1))


def test_long_stacked_vectors_equal_numpy():
    def build(x, y):
        return op.concat([op.expand_dims(op.exp(x), [1]), op.expand_dims(y, [1])], axis=1)

    run = compiled(build, ((9001,), "float32"), ((9001,), "float32"))
    x, y = normal(9001), normal(9001, seed=1)
    expected = np.stack([np.exp(x.astype("float64")), y], -1)
    np.testing.assert_allclose(run(x, y), expected, rtol=1e-6)


def test_sines_and_cosines_that_take_turns_equal_float64():
    def build(x, steps):
        angle = op.divide(op.expand_dims(x, [1]), steps)
        parts = [
            function(op.strided_slice(angle, [1], [i], [64], [2]))
            for i, function in enumerate((op.sin, op.cos))
        ]
        joined = op.concat([op.expand_dims(part, [2]) for part in parts], axis=2)
        return op.reshape(joined, (x.ty.shape[0], 64))

    run = compiled(build, (("n",), "float32"), ((64,), "float32"))
    steps = (10000 ** (2 * (np.arange(64) // 2) / 64)).astype("float32")
    for n in (1, 50):
        x = normal(n)
        angle = (x[:, None] / steps).astype("float64")
        exact = np.where(np.arange(64) % 2, np.cos(angle), np.sin(angle))
        np.testing.assert_allclose(run(x, steps), exact, atol=2e-7)


def test_repeated_neighbours_equal_numpy():
    def build(x):
        return op.reshape(op.broadcast_to(op.expand_dims(x, [2]), (5, 34, 3)), (5, 102))

    x = normal(5, 34)
    np.testing.assert_array_equal(compiled(build, (x.shape, "float32"))(x), np.repeat(x, 3, axis=1))


@pytest.mark.parametrize("group", [4, 16, 33, 48])
def test_values_that_groups_of_neighbours_share_equal_numpy(group):
    def build(x, scale):
        grouped = op.multiply(op.reshape(x, (7, 6, group)), op.expand_dims(scale, [1]))
        return op.nn.relu(op.reshape(grouped, (7, 6 * group)))

    x, scale = normal(7, 6 * group), normal(6, seed=1)
    run = compiled(build, (x.shape, "float32"), (scale.shape, "float32"))
    np.testing.assert_array_equal(run(x, scale), np.maximum(x * np.repeat(scale, group), 0))
