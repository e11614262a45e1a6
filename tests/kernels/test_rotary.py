"""Rotary embeddings join the product of queries and keys, where attention alone reads them."""

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

op = relax.op
WINDOWS, LENGTH, HEADS, DEPTH = 2, 35, 3, 64
WIDTH = HEADS * DEPTH


def block(turn_queries=True, turn_keys=True, keys_seed=0, spy=None):
    """From what a block reads to its attention, as the vision backbone has it.

    `spy` makes something of all of the product's result that is added to the end.
    """

    def build(x, w, bias):
        emit = relax.BlockBuilder.current().emit
        joint = emit(op.add(emit(op.matmul(x, emit(op.permute_dims(w)))), bias))
        heads = emit(op.reshape(joint, (WINDOWS, LENGTH, 3, HEADS, DEPTH)))

        def part(i):
            cut = emit(op.strided_slice(heads, [2], [i], [i + 1]))
            return emit(op.squeeze(emit(op.permute_dims(cut, [2, 0, 3, 1, 4])), [0]))

        q, k, v = (part(i) for i in range(3))
        if turn_queries:
            q = turned(q, relax.const(rotations(LENGTH, DEPTH)))
        if turn_keys:
            k = turned(k, relax.const(rotations(LENGTH, DEPTH, keys_seed)))
        q, k, v = (emit(op.permute_dims(x, [0, 2, 1, 3])) for x in (q, k, v))
        y = emit(op.reshape(emit(op.nn.attention(q, k, v)), (WINDOWS, LENGTH, WIDTH)))
        return y if spy is None else op.add(y, spy(joint))

    module = function(
        build,
        ((WINDOWS, LENGTH, 40), "float32"),
        ((3 * WIDTH, 40), "float32"),
        ((3 * WIDTH,), "float32"),
    )
    module["main"] = module["main"].with_attr("num_input", 1)
    return relax.transform.EliminateCommonSubexpr()(module)


def names(module):
    return {var.name_hint for var in module.get_global_vars()}


def arrays():
    x, w, bias = normal(WINDOWS, LENGTH, 40), normal(3 * WIDTH, 40, seed=1), normal(3 * WIDTH)
    return x, w * 0.3, bias


def reference(keys_seed=0, spy=lambda joint: 0.0):
    """In float64, rotated as complex numbers."""
    x, w, bias = (array.astype("float64") for array in arrays())
    joint = x @ w.T + bias
    q, k, v = joint.reshape(WINDOWS, LENGTH, 3, HEADS, DEPTH).transpose(2, 0, 3, 1, 4)

    def turn(tensor, seed):
        return turned_exactly(tensor, rotations(LENGTH, DEPTH, seed))

    scores = turn(q, 0) @ turn(k, keys_seed).swapaxes(-1, -2) / np.sqrt(DEPTH)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    y = (weights / weights.sum(-1, keepdims=True)) @ v
    return y.transpose(0, 2, 1, 3).reshape(WINDOWS, LENGTH, WIDTH) + spy(joint)


def run(module, config):
    """Return the result, and the functions whose loops turn something."""
    target = Target(config)
    passes = [
        rotary.place(target),
        attention.place(target, "float32"),
        packing.pack_weights(panels_for(target, "float32")),
    ]
    with target:
        module = tvm.transform.Sequential(passes)(module)
    program = Compiled(module, config)
    return program(*arrays()), [name for name in program.rules if "rotate" in name]


@pytest.mark.parametrize("config", runnable_targets())
def test_queries_and_keys_are_turned_by_their_product(config):
    result, turning = run(block(), config)
    assert turning
    np.testing.assert_allclose(result, reference(), rtol=0, atol=2e-5)


def test_values_may_be_read_by_others():
    """The last third of a product is not turned, and has its channels where they were."""

    def values(joint):
        return op.strided_slice(joint, [2], [2 * WIDTH], [3 * WIDTH])

    result, turning = run(block(spy=values), runnable_targets()[0])
    assert turning
    expected = reference(spy=lambda joint: joint[..., 2 * WIDTH :])
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        pytest.param(
            block(spy=lambda joint: op.strided_slice(joint, [2], [5], [5 + WIDTH])),
            lambda: reference(spy=lambda joint: joint[..., 5 : 5 + WIDTH]),
            id="queries that something else reads",
        ),
        pytest.param(
            block(keys_seed=1), lambda: reference(keys_seed=1), id="keys turned by other angles"
        ),
    ],
)
def test_others_are_left_to_the_general_rules(module, expected):
    with host_target():
        placed = rotary.place(host_target())(module)
    assert names(placed) == names(module)
    result, _ = run(module, runnable_targets()[0])
    np.testing.assert_allclose(result, expected(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("turned_alone", ["queries", "keys"])
def test_queries_are_not_turned_without_their_keys(turned_alone):
    module = block(turned_alone == "queries", turned_alone == "keys")
    assert names(rotary.place(host_target())(module)) == names(module)
