"""Attention written out for pipelines without kernels."""

import numpy as np
import pytest
import tvm
from relax_programs import normal
from tvm import relax

pytest.importorskip("torch")
from attention_reference import assert_as_accurate_as_torch, operands, program

from sam_tvm.kernels import attention


def stock(module: tvm.IRModule):
    """The module through TVM's own pipeline."""
    library = relax.build(attention.decompose()(module), target="llvm")
    machine = relax.VirtualMachine(library, tvm.cpu())
    return lambda *arrays: machine["main"](*[tvm.runtime.tensor(a) for a in arrays]).numpy()


def test_symbolic_sizes_and_a_bias_equal_float64():
    shapes = [("b", 2, "s", 8), ("b", 2, "t", 8), ("b", 2, "t", 5), ("b", 1, "s", "t")]
    run = stock(program(*shapes, scale=0.3))
    for batch, queries, keys in [(1, 1, 1), (2, 5, 7), (3, 17, 4)]:
        arrays = operands(batch, 2, queries, keys, 8, 5)
        bias = normal(batch, 1, queries, keys, seed=3)
        assert_as_accurate_as_torch(run(*arrays, bias), *arrays, bias, scale=0.3)


def test_query_without_keys_gives_zero():
    arrays = operands(1, 2, 6, 7, 8)
    bias = np.zeros((1, 1, 6, 7), "float32")
    bias[:, :, 2] = -np.inf
    result = stock(program(*(x.shape for x in arrays), bias.shape))(*arrays, bias)
    assert (result[:, :, 2] == 0).all()
    assert_as_accurate_as_torch(result, *arrays, bias)


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 8), (8, 3)])
@pytest.mark.parametrize("mask", ["TopLeft", "BottomRight"])
def test_causal_masks_as_relax_defines_them(queries, keys, mask):
    arrays = operands(1, 1, queries, keys, 8)
    run = stock(program(*(x.shape for x in arrays), causal_mask=mask))
    beyond = 0 if mask == "TopLeft" else abs(queries - keys)
    visible = np.tri(queries, keys, beyond, dtype=bool)[None, None]
    bias = np.where(visible, 0, -np.inf).astype("float32")
    assert_as_accurate_as_torch(run(*arrays), *arrays, bias)


def test_tvm_gives_nan_for_a_query_without_keys_on_its_own():
    arrays = operands(1, 1, 2, 3, 4)
    bias = np.full((1, 1, 2, 3), -np.inf, "float32")
    library = relax.build(program(*(x.shape for x in arrays), bias.shape), target="llvm")
    result = relax.VirtualMachine(library, tvm.cpu())["main"](
        *[tvm.runtime.tensor(a) for a in (*arrays, bias)]
    )
    assert np.isnan(result.numpy()).all()


def test_heads_are_swapped_once():
    shape = (1, 2, 6, 8)
    module = attention.decompose()(program(shape, shape, shape))
    # The keys for their product, and the result's two swaps.
    assert module.script().count("permute_dims") <= 6
