"""Windows around attention: products keep the order of their rows, and nothing is copied."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from relax_programs import (
    Compiled,
    function,
    host_target,
    normal,
    rotations,
    runnable_targets,
    turned,
    turned_exactly,
)
from tvm import relax
from tvm.target import Target

from sam_tvm.kernels import attention, rotary
from sam_tvm.kernels.graph import packing
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16

op = relax.op
PICTURES, DOWN, ACROSS, HIGH, WIDE = 2, 2, 3, 3, 5  # windows in a picture, rows in a window
LENGTH, HEADS, DEPTH = HIGH * WIDE, 2, 32
WIDTH = HEADS * DEPTH
GRID = (PICTURES, DOWN * HIGH, ACROSS * WIDE, WIDTH)
CUT = (PICTURES, DOWN, HIGH, ACROSS, WIDE, WIDTH)
WINDOWS = PICTURES * DOWN * ACROSS


def to_windows(x):
    emit = relax.BlockBuilder.current().emit
    x = emit(op.permute_dims(emit(op.reshape(x, CUT)), [0, 1, 3, 2, 4, 5]))
    return emit(op.reshape(x, (WINDOWS, HIGH, WIDE, WIDTH)))


def from_windows(x):
    emit = relax.BlockBuilder.current().emit
    x = emit(op.reshape(x, (PICTURES, DOWN, ACROSS, HIGH, WIDE, WIDTH)))
    return emit(op.reshape(emit(op.permute_dims(x, [0, 1, 3, 2, 4, 5])), GRID))


def block(turn=False, spy_joint=None, spy_projected=None):
    """A picture's windows attended to, projected, put together again and added to the picture.

    A spy makes something of a product's result that is added to the end.
    """

    def build(x, w, bias, projection, more):
        emit = relax.BlockBuilder.current().emit
        joint = emit(op.add(emit(op.matmul(to_windows(x), w)), bias))
        heads = emit(op.reshape(joint, (WINDOWS, LENGTH, 3, HEADS, DEPTH)))

        def part(i):
            cut = emit(op.strided_slice(heads, [2], [i], [i + 1]))
            return emit(op.squeeze(emit(op.permute_dims(cut, [2, 0, 3, 1, 4])), [0]))

        q, k, v = (part(i) for i in range(3))
        if turn:
            table = relax.const(rotations(LENGTH, DEPTH))
            q, k = turned(q, table), turned(k, table)
        q, k, v = (emit(op.permute_dims(x, [0, 2, 1, 3])) for x in (q, k, v))
        y = emit(op.reshape(emit(op.nn.attention(q, k, v)), (WINDOWS, HIGH, WIDE, WIDTH)))
        y = emit(op.add(emit(op.matmul(y, projection)), more))
        end = emit(op.add(x, from_windows(y)))
        for spy, seen in ((spy_joint, joint), (spy_projected, y)):
            end = end if spy is None else emit(op.add(end, emit(spy(seen))))
        return end

    parameters = ((WIDTH, 3 * WIDTH), (3 * WIDTH,), (WIDTH, WIDTH), (WIDTH,))
    module = function(build, *((shape, "float32") for shape in (GRID, *parameters)))
    module["main"] = module["main"].with_attr("num_input", 1)
    return relax.transform.EliminateCommonSubexpr()(module)


def arrays():
    scale = np.float32(0.3)
    weights = normal(WIDTH, 3 * WIDTH, seed=1) * scale, normal(WIDTH, WIDTH, seed=2) * scale
    return normal(*GRID), weights[0], normal(3 * WIDTH), weights[1], normal(WIDTH)


def reference(turn=False):
    """In float64."""
    x, w, bias, projection, more = (array.astype("float64") for array in arrays())
    rows = x.reshape(CUT).transpose(0, 1, 3, 2, 4, 5).reshape(WINDOWS, LENGTH, WIDTH)
    joint = rows @ w + bias
    q, k, v = joint.reshape(WINDOWS, LENGTH, 3, HEADS, DEPTH).transpose(2, 0, 3, 1, 4)
    if turn:
        q, k = (turned_exactly(part, rotations(LENGTH, DEPTH)) for part in (q, k))
    weights = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(DEPTH))
    y = (weights / weights.sum(-1, keepdims=True)) @ v
    y = y.transpose(0, 2, 1, 3).reshape(WINDOWS, LENGTH, WIDTH) @ projection + more
    y = y.reshape(PICTURES, DOWN, ACROSS, HIGH, WIDE, WIDTH).transpose(0, 1, 3, 2, 4, 5)
    return x + y.reshape(GRID)


def placed(module, target, precision="float32", in_place=True):
    passes = [
        rotary.place(target),
        *([attention.keep_row_order()] if in_place else []),
        attention.place(target, precision),
        packing.pack_weights(panels_for(target, precision)),
        relax.transform.CanonicalizeBindings(),
    ]
    with target:
        return tvm.transform.Sequential(passes)(module)


def permutations(module) -> int:
    """How many permutations of pictures are left; those of a table do not count."""
    bindings = [b for block in module["main"].body.blocks for b in block.bindings]
    calls = [b.value for b in bindings if isinstance(b.value, relax.Call)]
    return sum(
        call.op.name == "relax.permute_dims" and int(call.ty.shape[-1]) % WIDTH == 0
        for call in calls
    )


@pytest.mark.parametrize("config", runnable_targets())
@pytest.mark.parametrize("turn", [False, True])
def test_windows_are_neither_cut_nor_put_together(config, turn):
    target = Target(config)
    module = placed(block(turn), target)
    assert permutations(module) == 0
    result = Compiled(module, target)(*arrays())
    np.testing.assert_allclose(result, reference(turn), atol=3e-5)


@pytest.mark.skipif(not computes_bfloat16(host_target()), reason="this CPU computes no bfloat16")
def test_windows_of_bfloat16_are_read_in_place():
    """The same numbers are multiplied and added up as without."""
    for target in map(Target, runnable_targets()):
        if computes_bfloat16(target):
            modules = [placed(block(True), target, "bfloat16", way) for way in (True, False)]
            assert [permutations(module) for module in modules] == [0, 2]
            results = [Compiled(module, target)(*arrays()) for module in modules]
            np.testing.assert_array_equal(*results)


def test_the_residual_joins_the_projection():
    run = Compiled(placed(block(), host_target()), host_target())
    apart = {name for name, rule in run.rules.items() if rule == "elementwise"}
    assert apart == {"pack_panels"}


@pytest.mark.parametrize("spied", ["spy_joint", "spy_projected"])
def test_a_product_that_others_read_stays_as_it_is(spied):
    module = block(**{spied: lambda seen: op.mean(seen, keepdims=False)})
    assert permutations(placed(module, host_target())) == 1


def test_what_takes_rows_apart_stays():
    """Windows of channels: the permutation's last axis is another."""

    def build(x, w):
        emit = relax.BlockBuilder.current().emit
        x = emit(op.permute_dims(emit(op.reshape(x, (4, 10, 2, WIDTH))), [0, 1, 3, 2]))
        joint = emit(op.matmul(emit(op.reshape(x, (4, 20, WIDTH))), w))
        q, k, v = (
            emit(op.reshape(emit(op.strided_slice(joint, [2], [i], [i + WIDTH])), (4, 20, 2, 32)))
            for i in range(0, 3 * WIDTH, WIDTH)
        )
        return op.nn.attention(q, k, v)

    shapes = ((4, 20, WIDTH), (WIDTH, 3 * WIDTH))
    module = function(build, *((shape, "float32") for shape in shapes))
    module["main"] = module["main"].with_attr("num_input", 1)
    tvm.ir.assert_structural_equal(attention.keep_row_order()(module), module)
