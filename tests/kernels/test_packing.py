"""Weights are packed once, and products with them give what they gave before."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, function, host_target, normal
from tvm import relax

from sam_tvm.kernels.graph import packing
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16


def packed(build, *inputs, num_input=1):
    module = function(build, *inputs)
    module["main"] = module["main"].with_attr("num_input", num_input)
    return packing.pack_weights(panels_for(host_target(), "float32"))(module)


def product(x, w):
    return relax.op.matmul(x, relax.op.permute_dims(w))


@pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 16, 16), (7, 37, 53), (65, 300, 97)])
def test_a_product_with_a_packed_weight_agrees_with_float64(rows, terms, columns):
    module = packed(product, ((rows, terms), "float32"), ((columns, terms), "float32"))
    x, w = normal(rows, terms), normal(columns, terms, seed=1)
    expected = x.astype("float64") @ w.T.astype("float64")
    np.testing.assert_allclose(Compiled(module)(x, w), expected, rtol=1e-4, atol=1e-4)


def test_a_weight_goes_through_a_packing_of_its_own():
    module = packed(product, ((8, 32), "float32"), ((48, 32), "float32"))
    names = {var.name_hint for var in module.get_global_vars()}
    assert {"pack_panels", "matmul_panels"} <= names


@pytest.mark.parametrize(
    ("build", "inputs", "num_input"),
    [
        # Both operands are inputs.
        (relax.op.matmul, [((8, 32), "float32"), ((32, 48), "float32")], 2),
        # Most of a panel would be padding.
        (product, [((8, 32), "float32"), ((3, 32), "float32")], 1),
        # A batch of weights.
        (relax.op.matmul, [((2, 8, 32), "float32"), ((2, 32, 48), "float32")], 1),
    ],
)
def test_other_products_stay_as_they_are(build, inputs, num_input):
    module = packed(build, *inputs, num_input=num_input)
    assert [var.name_hint for var in module.get_global_vars()] == ["main"]


def test_a_function_that_does_not_say_where_parameters_begin_is_left_alone():
    module = function(product, ((8, 32), "float32"), ((48, 32), "float32"))
    after = packing.pack_weights(panels_for(host_target(), "float32"))(module)
    tvm.ir.assert_structural_equal(after, module)


@pytest.mark.skipif(not computes_bfloat16(host_target()), reason="no AVX-512 here")
def test_a_hidden_layer_is_rounded_where_it_is_made():
    """Its maker stores half as much; the input, which nothing here makes, is left alone."""

    def hidden(x, first, second):
        y = relax.op.nn.gelu(relax.op.matmul(x, first))
        return relax.op.matmul(y, second)

    shapes = (((70, 32), "float32"), ((32, 64), "float32"), ((64, 48), "float32"))
    module = function(hidden, *shapes)
    module["main"] = module["main"].with_attr("num_input", 1)
    module = packing.pack_weights(panels_for(host_target(), "bfloat16"))(module)
    names = [var.name_hint for var in module.get_global_vars()]
    assert len([name for name in names if name.startswith("round")]) == 1
    x, first, second = normal(70, 32), normal(32, 64, seed=1), normal(64, 48, seed=2)
    result = Compiled(module)(x, first, second)
    y = x.astype("float64") @ first
    y = y * (0.5 + 0.5 * np.vectorize(math.erf)(y / math.sqrt(2)))
    exact = y @ second
    # Roundings of 2**-9 at most of both operands of either product, added up like random numbers.
    assert np.abs(result - exact).max() <= 2**-7 * np.abs(y).max() * math.sqrt(64) * 3
    assert np.sqrt(np.mean((result - exact) ** 2)) <= 2**-7 * np.sqrt(np.mean(exact**2))


@pytest.mark.skipif(not computes_bfloat16(host_target()), reason="no AVX-512 here")
def test_what_a_norm_made_is_rounded_before_it_is_moved_about():
    def windows(x, gain, shift, weight):
        y = relax.op.nn.layer_norm(x, gain, shift, [-1])
        y = relax.op.permute_dims(relax.op.reshape(y, (2, 3, 2, 5, 64)), [0, 2, 1, 3, 4])
        return relax.op.matmul(relax.op.reshape(y, (4, 15, 64)), weight)

    shapes = (6, 10, 64), (64,), (64,), (64, 48)
    module = function(windows, *((shape, "float32") for shape in shapes))
    module["main"] = module["main"].with_attr("num_input", 1)
    program = Compiled(packing.pack_weights(panels_for(host_target(), "bfloat16"))(module))
    assert program.rules["fused_layer_norm_round"] == "reduction"
    x, gain, shift, weight = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    y = x.astype("float64")
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5) * gain + shift
    moved = y.reshape(2, 3, 2, 5, 64).swapaxes(1, 2).reshape(4, 15, 64)
    result, exact = program(x, gain, shift, weight), moved @ weight
    assert np.sqrt(np.mean((result - exact) ** 2)) <= 2**-8 * np.sqrt(np.mean(exact**2))
