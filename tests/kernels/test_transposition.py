import numpy as np
import pytest
from relax_programs import compiled, nodes, normal, runnable_targets
from tvm import relax, tirx

op = relax.op
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


@TARGETS
@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((16, 16), (1, 0)),
        ((17, 131), (1, 0)),
        ((300, 65), (1, 0)),
        ((2, 3, 40, 33), (0, 1, 3, 2)),
        ((1, 19, 23, 37), (0, 2, 3, 1)),
        ((3, 19, 23, 37), (0, 3, 1, 2)),
        ((33, 5, 18, 7), (3, 1, 2, 0)),
        ((1, 70, 2100), (0, 2, 1)),
    ],
)
def test_every_element_moves(shape, order, target):
    run = compiled(lambda x: op.permute_dims(x, list(order)), (shape, "float32"), target=target)
    x = normal(*shape)
    np.testing.assert_array_equal(run(x), x.transpose(order))


@TARGETS
@pytest.mark.parametrize("middle", [1, 3])
def test_rows_a_symbolic_step_apart_are_turned_in_registers(middle, target):
    shape = (35, "n", 50), "float32"
    run = compiled(lambda x: op.permute_dims(x, [1, 2, 0]), shape, target=target)
    assert nodes(run, tirx.Shuffle)
    x = normal(35, middle, 50)
    np.testing.assert_array_equal(run(x), x.transpose(1, 2, 0))


def test_squares_are_turned_in_registers():
    run = compiled(lambda x: op.permute_dims(x, [1, 0]), ((300, 65), "float32"))
    assert nodes(run, tirx.Shuffle)


@TARGETS
def test_integers_and_wide_and_narrow_types_move(target):
    for dtype in ("int32", "int64", "int8", "float64", "bool"):
        run = compiled(lambda x: op.permute_dims(x, [0, 2, 1]), ((2, 35, 50), dtype), target=target)
        x = (100 * normal(2, 35, 50)).astype(dtype)
        np.testing.assert_array_equal(run(x), x.transpose(0, 2, 1))


@TARGETS
def test_arithmetic_on_turned_and_straight_operands_equals_numpy(target):
    def build(x, y, z):
        turned = op.permute_dims(x, [0, 2, 1])
        return op.maximum(op.add(op.multiply(turned, y), op.multiply(turned, turned)), z)

    shapes = [(2, 35, 50), (2, 50, 35), (35,)]
    run = compiled(build, *[(shape, "float32") for shape in shapes], target=target)
    assert nodes(run, tirx.Shuffle)
    x, y, z = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    turned = x.transpose(0, 2, 1).astype("float64")
    np.testing.assert_allclose(run(x, y, z), np.maximum(turned * y + turned**2, z), atol=1e-5)


@pytest.mark.parametrize("widths", [(1, 1, 1, 1), (0, 3, 2, 0), (5, 0, 0, 17)])
def test_a_padded_picture_is_turned_between_its_edges(widths):
    top, bottom, left, right = widths

    def build(x):
        x = op.permute_dims(x, [0, 2, 3, 1])
        return op.nn.pad(x, [0, 0, top, bottom, left, right, 0, 0])

    run = compiled(build, ((2, 35, 9, 41), "float32"))
    assert nodes(run, tirx.Shuffle)
    x = normal(2, 35, 9, 41)
    expected = np.pad(x.transpose(0, 2, 3, 1), [(0, 0), (top, bottom), (left, right), (0, 0)])
    np.testing.assert_array_equal(run(x), expected)


def test_padding_along_the_channels_that_are_turned():
    run = compiled(
        lambda x: op.nn.pad(op.permute_dims(x, [1, 0]), [2, 3, 1, 4]), ((33, 45), "float32")
    )
    x = normal(33, 45)
    np.testing.assert_array_equal(run(x), np.pad(x.T, [(2, 3), (1, 4)]))


def test_any_size_is_turned():
    run = compiled(lambda x: op.permute_dims(x, [0, 2, 1]), (("b", "n", "m"), "float32"))
    for shape in [(1, 1, 1), (2, 15, 40), (1, 40, 15), (2, 33, 50), (1, 100, 1030)]:
        x = normal(*shape)
        np.testing.assert_array_equal(run(x), x.transpose(0, 2, 1))


def test_softmax_over_turned_rows_equals_float64():
    run = compiled(
        lambda x: op.nn.softmax(op.permute_dims(x, [0, 2, 1]), axis=-1), ((3, 40, 50), "float32")
    )
    x = normal(3, 40, 50)
    power = np.exp(x.transpose(0, 2, 1).astype("float64"))
    np.testing.assert_allclose(run(x), power / power.sum(-1, keepdims=True), rtol=4e-6)
