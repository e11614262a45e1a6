import numpy as np
import pytest
import tvm
import tvm_ffi
from relax_programs import compiled, nodes, normal, runnable_targets
from tvm import relax, tirx

from sam_tvm.kernels.expressions import is_guard

op = relax.op
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


def guards_in_vectors(run) -> int:
    """Conditions that are evaluated lane by lane."""
    found: list[object] = []
    for loop in nodes(run, tirx.For):
        if loop.kind == tirx.ForKind.VECTORIZED:
            tvm_ffi.structural_walk(loop.body, (tvm.ir.Call, found.append))
    return sum(is_guard(call) for call in found)


@TARGETS
@pytest.mark.parametrize("widths", [(1, 2), (0, 17), (40, 0), (3, 3)])
@pytest.mark.parametrize("length", [1, 16, 45])
def test_padded_rows_equal_numpy(length, widths, target):
    run = compiled(
        lambda x: op.nn.pad(x, [0, 0, *widths], pad_value=1.5),
        ((5, length), "float32"),
        target=target,
    )
    assert not guards_in_vectors(run)
    x = normal(5, length)
    np.testing.assert_array_equal(run(x), np.pad(x, [(0, 0), widths], constant_values=1.5))


@TARGETS
def test_values_one_after_another_equal_numpy(target):
    widths = (32, 32, 1, 1, 50)
    run = compiled(
        lambda *parts: op.concat(list(parts), axis=1),
        *[((9, width), "float32") for width in widths],
        target=target,
    )
    assert not guards_in_vectors(run)
    parts = [normal(9, width, seed=i) for i, width in enumerate(widths)]
    np.testing.assert_array_equal(run(*parts), np.concatenate(parts, 1))


def test_values_padded_on_every_side_equal_numpy():
    widths = [0, 0, 1, 2, 3, 0, 0, 5]
    run = compiled(lambda x: op.nn.pad(op.exp(x), widths), ((2, 5, 7, 20), "float32"))
    assert not guards_in_vectors(run)
    x = normal(2, 5, 7, 20)
    expected = np.pad(np.exp(x.astype("float64")), [(0, 0), (1, 2), (3, 0), (0, 5)])
    np.testing.assert_allclose(run(x), expected, rtol=1e-6)


def test_windows_of_a_padded_picture_equal_numpy():
    def windows(x):
        x = op.nn.pad(x, [0, 0, 0, 2, 0, 2, 0, 0])
        x = op.permute_dims(op.reshape(x, (1, 3, 6, 3, 6, 20)), [0, 1, 3, 2, 4, 5])
        return op.reshape(x, (9, 6, 6, 20))

    x = normal(1, 16, 16, 20)
    padded = np.pad(x, [(0, 0), (0, 2), (0, 2), (0, 0)]).reshape(1, 3, 6, 3, 6, 20)
    expected = padded.transpose(0, 1, 3, 2, 4, 5).reshape(9, 6, 6, 20)
    run = compiled(windows, (x.shape, "float32"))
    assert not guards_in_vectors(run)
    np.testing.assert_array_equal(run(x), expected)


def test_symbolic_borders_equal_numpy():
    run = compiled(
        lambda x, y: op.nn.pad(op.concat([x, y], axis=1), [0, 0, 2, 1]),
        ((3, "n"), "float32"),
        ((3, "m"), "float32"),
    )
    for n, m in [(1, 1), (17, 5), (40, 33)]:
        x, y = normal(3, n), normal(3, m, seed=1)
        expected = np.pad(np.concatenate([x, y], 1), [(0, 0), (2, 1)])
        np.testing.assert_array_equal(run(x, y), expected)


def test_triangles_equal_numpy():
    # The border of each row is somewhere else.
    for build, exact in [(op.tril, np.tril), (op.triu, np.triu)]:
        x = normal(3, 37, 50)
        run = compiled(lambda x, build=build: build(x, 1), (x.shape, "float32"))
        np.testing.assert_array_equal(run(x), exact(x, 1))
