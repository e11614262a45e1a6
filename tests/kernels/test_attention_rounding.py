"""Products store as bfloat16 what attention would round, and attention what products would."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, function, host_target, normal, runnable_targets
from tvm import relax
from tvm.target import Target

pytest.importorskip("torch")
from attention_reference import exact

from sam_tvm.kernels import attention
from sam_tvm.kernels.graph import packing
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16

op = relax.op
pytestmark = pytest.mark.skipif(
    not computes_bfloat16(host_target()), reason="this CPU computes no bfloat16"
)
TARGETS = [config for config in runnable_targets() if computes_bfloat16(Target(config))]
BATCH, LENGTH, HEADS, DEPTH, TERMS = 2, 70, 3, 64, 48
WIDTH = HEADS * DEPTH


def self_attention(also=None):
    """Attention of three parts of one product; `also` makes something of that is added."""

    def build(x, w, bias):
        emit = relax.BlockBuilder.current().emit
        joint = emit(op.add(emit(op.matmul(x, w)), bias))
        heads = emit(op.reshape(joint, (BATCH, LENGTH, 3, HEADS, DEPTH)))
        q, k, v = (
            emit(op.squeeze(emit(op.strided_slice(heads, [2], [i], [i + 1])), [2]))
            for i in range(3)
        )
        y = emit(op.reshape(emit(op.nn.attention(q, k, v)), (BATCH, LENGTH, WIDTH)))
        return y if also is None else op.add(y, also(joint))

    return made(build, (TERMS, 3 * WIDTH), (3 * WIDTH,))


def cross_attention(x, *weights_and_bias):
    """Queries, keys and values of products of their own, and a bias perhaps."""
    emit = relax.BlockBuilder.current().emit
    *weights, bias = (*weights_and_bias, None)[:4]
    q, k, v = (
        emit(op.reshape(emit(op.matmul(x, w)), (BATCH, LENGTH, HEADS, DEPTH))) for w in weights
    )
    return op.reshape(emit(op.nn.attention(q, k, v, bias)), (BATCH, LENGTH, WIDTH))


def made(build, *parameters):
    shapes = ((BATCH, LENGTH, TERMS), *parameters)
    module = function(build, *((shape, "float32") for shape in shapes))
    module["main"] = module["main"].with_attr("num_input", 1)
    return module


def placed(module, config=None):
    target = host_target() if config is None else Target(config)
    passes = [
        attention.place(target, "bfloat16"),
        packing.pack_weights(panels_for(target, "bfloat16")),
    ]
    return tvm.transform.Sequential(passes)(module)


def types(module):
    """Types of what the attention kernel reads, and of what it writes."""
    (kernel,) = (f for v, f in module.functions_items() if v.name_hint == "attention")
    *read, written = (str(parameter.dtype) for parameter in kernel.params)
    return read, written


def arrays():
    return normal(BATCH, LENGTH, TERMS), normal(TERMS, 3 * WIDTH, seed=1) * 0.2, normal(3 * WIDTH)


@pytest.mark.parametrize("config", TARGETS)
def test_a_joint_product_is_read_as_bfloat16_and_gives_what_it_gave(config):
    rounded = placed(self_attention(), config)
    assert types(rounded) == (["uint16"], "float32")
    x, w, bias = arrays()
    result = Compiled(rounded, config)(x, w, bias)
    joint = x.astype("float64") @ w + bias
    q, k, v = joint.reshape(BATCH, LENGTH, 3, HEADS, DEPTH).transpose(2, 0, 3, 1, 4)
    reference = exact(q, k, v).transpose(0, 2, 1, 3).reshape(result.shape)
    error = np.abs(result - reference)
    assert error.mean() < 6e-3 and error.max() < 6e-2


@pytest.mark.parametrize("config", TARGETS)
def test_the_same_numbers_are_multiplied_as_without(config):
    """With a scale of a power of two, rounding once earlier changes no bit."""

    def values(joint):
        return op.strided_slice(joint, [2], [2 * WIDTH], [3 * WIDTH])

    def product(x, w, bias):
        return values(op.add(op.matmul(x, w), bias))

    plain = placed(self_attention(also=values), config)
    assert types(plain) == (["float32"], "float32")
    parts = self_attention(), made(product, (TERMS, 3 * WIDTH), (3 * WIDTH,))
    attended, added = (Compiled(placed(part, config), config)(*arrays()) for part in parts)
    np.testing.assert_array_equal(attended + added, Compiled(plain, config)(*arrays()))


def test_queries_that_a_bias_scales_are_not_rounded_before():
    weights = [(TERMS, WIDTH)] * 3
    read, _ = types(placed(made(cross_attention, *weights)))
    assert read == ["uint16"] * 3
    read, _ = types(placed(made(cross_attention, *weights, (1, 1, 1, LENGTH))))
    assert sorted(read) == ["float32", "float32", "uint16", "uint16"]


@pytest.mark.parametrize("config", TARGETS)
@pytest.mark.parametrize("depth", [64, 40])
def test_a_product_reads_what_attention_rounded(config, depth):
    """Of 40 channels the last eight are stored one by one."""
    width = HEADS * depth if depth == DEPTH else 4 * depth
    heads = width // depth

    def build(x, w, weight):
        emit = relax.BlockBuilder.current().emit
        q = k = v = emit(op.reshape(emit(op.matmul(x, w)), (BATCH, LENGTH, heads, depth)))
        y = emit(op.reshape(emit(op.nn.attention(q, k, v)), (BATCH, LENGTH, width)))
        return op.matmul(y, weight)

    module = placed(made(build, (TERMS, width), (width, 48)), config)
    assert types(module)[1] == "uint16"
    program = Compiled(module, config)
    assert not any("widen" in name for name in program.rules)
    x, w, weight = normal(BATCH, LENGTH, TERMS), normal(TERMS, width) * 0.2, normal(width, 48)
    x64 = (x.astype("float64") @ w).reshape(BATCH, LENGTH, heads, depth).swapaxes(1, 2)
    y = exact(x64, x64, x64).swapaxes(1, 2).reshape(BATCH, LENGTH, width)
    error = program(x, w, weight) - y @ weight
    assert np.sqrt(np.mean(error**2)) <= 2**-7 * np.sqrt(np.mean((y @ weight) ** 2))
