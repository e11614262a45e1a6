"""Strided views against NumPy: random chains of what moves tensors about in Relax."""

import numpy as np
import pytest
from relax_programs import function
from tvm import relax, sym, tirx

from sam_tvm.kernels.expressions import substitute
from sam_tvm.kernels.graph.views import View, has_vectors, place_in, trace

op = relax.op


def bindings_of(module) -> list[relax.VarBinding]:
    return [binding for block in module["main"].body.blocks for binding in block.bindings]


def traced(module) -> list[View]:
    bindings = bindings_of(module)
    values = {binding.var: binding.value for binding in bindings}
    return trace(module["main"].body.body, values, sym.Analyzer())


def read(view: View, base: np.ndarray, shape: tuple[int, ...], sizes: dict | None = None):
    """What the view sees of an array, its symbolic sizes given: loop by loop, then by axis."""
    sizes = {var: tirx.IntImm("int64", value) for var, value in (sizes or {}).items()}

    def number(expr) -> int:
        return int(sym.Analyzer().simplify(substitute(expr, sizes)))

    loops = [loop for axis in view.axes for loop in axis]
    extents = [number(extent) for extent, _ in loops]
    steps = [number(stride) * base.itemsize for _, stride in loops]
    flat = base.reshape(-1)[number(view.offset) :]
    return np.lib.stride_tricks.as_strided(flat, extents, steps).reshape(shape)


def random_step(random: np.random.Generator, array: np.ndarray):
    """A step that has a view, as a function of a Relax expression and of an array."""
    shape = array.shape
    kind = random.choice(
        ["permute", "slice", "squeeze", "expand", "split", "cut", "part", "repeat"]
    )
    axis = int(random.integers(len(shape)))
    size = shape[axis]
    if kind == "permute":
        order = [int(i) for i in random.permutation(len(shape))]
        return lambda x: op.permute_dims(x, order), lambda a: a.transpose(order)
    if kind == "slice":
        begin, step = int(random.integers(size)), int(random.integers(1, 3))
        place = (slice(None),) * axis + (slice(begin, size, step),)
        return (
            lambda x: op.strided_slice(x, axes=[axis], begin=[begin], end=[size], strides=[step]),
            lambda a: a[place],
        )
    if kind == "expand" and len(shape) < 6:
        return lambda x: op.expand_dims(x, axis), lambda a: np.expand_dims(a, axis)
    if kind == "squeeze" and size == 1 and len(shape) > 1:
        return lambda x: op.squeeze(x, [axis]), lambda a: a.squeeze(axis)
    if kind == "split" and size % 2 == 0 and len(shape) < 6:
        new = (*shape[:axis], size // 2, 2, *shape[axis + 1 :])
        return lambda x: op.reshape(x, new), lambda a: a.reshape(new)
    if kind == "part" and size % 2 == 0:
        return (
            lambda x: relax.TupleGetItem(op.split(x, 2, axis), 1),
            lambda a: np.split(a, 2, axis)[1],
        )
    if kind == "cut" and size > 1:
        return (
            lambda x: relax.TupleGetItem(op.split(x, [1], axis), 1),
            lambda a: np.split(a, [1], axis)[1],
        )
    if kind == "repeat" and size == 1:
        new = (*shape[:axis], 3, *shape[axis + 1 :])
        return lambda x: op.broadcast_to(x, new), lambda a: np.broadcast_to(a, new)
    return None


@pytest.mark.parametrize("seed", range(40))
def test_random_chain_equals_numpy(seed):
    random = np.random.default_rng(seed)
    start = tuple(int(2 * random.integers(1, 5)) for _ in range(4))
    base = np.arange(np.prod(start)).reshape(start)
    array, steps = base, []
    while len(steps) < 7 and array.size > 1:
        step = random_step(random, array)
        if step is not None:
            steps.append(step[0])
            array = step[1](array)

    def build(x):
        builder = relax.BlockBuilder.current()
        for step in steps:
            x = builder.emit(builder.normalize(step(x)))
        return x

    views = traced(function(build, (start, "float32")))
    assert len(views) > 1
    np.testing.assert_array_equal(read(views[-1], base, array.shape), array)


def test_heads_cut_out_of_one_product_have_strides():
    def third(x):
        x = op.permute_dims(op.reshape(x, (2, 5, 3, 4, 8)), [2, 0, 3, 1, 4])
        return op.squeeze(op.strided_slice(x, axes=[0], begin=[2], end=[3]), [0])

    (*_, view) = traced(function(third, ((2, 5, 96), "float32")))
    assert has_vectors(view)
    assert [int(stride) for ((_, stride),) in view.axes] == [480, 8, 96, 1]
    assert int(view.offset) == 64


def test_merging_and_cutting_symbolic_axes_keeps_strides():
    # (L, B, 3, C): one third of it, batch and heads merged and cut again.
    def heads(x):
        length, batch = x.ty.shape[0], x.ty.shape[1]
        x = op.squeeze(op.strided_slice(x, axes=[2], begin=[1], end=[2]), [2])
        x = op.permute_dims(op.reshape(x, (length, batch * 4, 8)), [1, 0, 2])
        return op.reshape(x, (batch, 4, length, 8))

    module = function(heads, (("l", "b", 3, 32), "float32"))
    (*_, view) = traced(module)
    length, batch = list(module["main"].params[0].ty.shape)[:2]
    base = np.arange(5 * 2 * 96).reshape(5, 2, 3, 32)
    expected = base[:, :, 1].reshape(5, 8, 8).transpose(1, 0, 2).reshape(2, 4, 5, 8)
    seen = read(view, base, expected.shape, {length: 5, batch: 2})
    np.testing.assert_array_equal(seen, expected)


def test_uneven_cut_ends_the_trace():
    def build(x):
        return op.reshape(op.permute_dims(x, [1, 0]), (4, 6))

    views = traced(function(build, ((4, 6), "float32")))
    assert len(views) == 2


def test_place_in_the_result_is_the_inverse_of_the_steps():
    def build(x):
        x = op.permute_dims(x, [1, 0, 2, 3])
        return op.reshape(x, (5, 2 * 3 * 8))

    module = function(build, ((2, 5, 3, 8), "float32"))
    calls = [b.value for b in bindings_of(module) if isinstance(b.value, relax.Call)]
    view = place_in(bindings_of(module)[-1].var, calls, sym.Analyzer())
    before = np.arange(240).reshape(2, 5, 3, 8)
    after = before.transpose(1, 0, 2, 3).reshape(5, 48)
    np.testing.assert_array_equal(read(view, np.ascontiguousarray(after), (2, 5, 3, 8)), before)
