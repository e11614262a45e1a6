"""Flash attention against float64: sizes, masks, magnitudes, vector units, precisions."""

import numpy as np
import pytest
import tvm
from relax_programs import host_target, normal, runnable_targets
from tvm import relax

pytest.importorskip("torch")
import torch
from attention_reference import (
    assert_as_accurate_as_torch,
    attend,
    exact,
    in_torch,
    operands,
    placed,
    program,
)

from sam_tvm.kernels import attention
from sam_tvm.kernels.target_features import NEON, VectorUnit, computes_bfloat16

TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)
BFLOAT16 = pytest.mark.skipif(not computes_bfloat16(host_target()), reason="needs AVX-512")
# (B, H, S, T, D, channels of the values): ones, primes, and off every tile on either side
SIZES = [
    (1, 1, 1, 1, 1, 1),
    (1, 2, 1, 37, 8, 8),
    (2, 1, 37, 1, 17, 5),
    (1, 1, 17, 9, 64, 64),
    (2, 3, 65, 61, 20, 33),
    (1, 2, 48, 192, 32, 32),
    (3, 1, 97, 193, 13, 16),
    (1, 1, 83, 401, 40, 7),
]
HOST, *OTHERS = runnable_targets()


@pytest.mark.parametrize(
    ("target", "sizes"),
    [(HOST, sizes) for sizes in SIZES] + [(t, sizes) for t in OTHERS for sizes in SIZES[1::3]],
    ids=lambda value: value.get("mcpu", "generic") if isinstance(value, dict) else None,
)
def test_known_sizes_equal_float64(target, sizes):
    arrays = operands(*sizes)
    assert_as_accurate_as_torch(attend(*arrays, target=target), *arrays)


@pytest.mark.parametrize("unit", [NEON, VectorUnit(8, 32)], ids=str)
def test_vector_units_that_this_machine_lacks_equal_float64(unit, monkeypatch):
    monkeypatch.setattr("sam_tvm.kernels.attention.placement.vector_unit", lambda target: unit)
    for sizes in SIZES[4:]:
        arrays = operands(*sizes)
        assert_as_accurate_as_torch(attend(*arrays), *arrays)


def test_kernels_are_built_for_aarch64():
    target = tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu"})
    shapes = [("b", 2, "s", 24), ("b", 2, "t", 24), ("b", 2, "t", 18), ("b", 1, "s", "t")]
    module = attention.place(target, "float32")(program(*shapes))
    assert relax.build(module, target=target) is not None


@TARGETS
def test_one_kernel_serves_all_sizes(target):
    shapes = [("b", "h", "s", 24), ("b", "h", "t", 24), ("b", "h", "t", 18), ("b", 1, "s", "t")]
    run = placed(program(*shapes), target)
    for sizes in [(1, 1, 1, 1), (2, 3, 5, 7), (1, 2, 17, 193), (3, 1, 33, 16), (1, 1, 131, 389)]:
        arrays = operands(*sizes, 24, 18)
        bias = normal(sizes[0], 1, *sizes[2:], seed=3)
        assert_as_accurate_as_torch(run(*arrays, bias), *arrays, bias)


def test_symbolic_queries_use_narrow_blocks_and_wide_ones():
    run = placed(program((1, 2, "s", 16), (1, 2, 50, 16), (1, 2, 50, 16)))
    for queries in (1, 16, 17, 32, 33, 48, 49, 64, 80, 96, 97, 700):
        arrays = operands(1, 2, queries, 50, 16)
        assert_as_accurate_as_torch(run(*arrays), *arrays)


def test_scale_is_taken_as_given():
    arrays = operands(1, 2, 19, 23, 12)
    assert_as_accurate_as_torch(attend(*arrays, scale=0.7), *arrays, scale=0.7)


@pytest.mark.parametrize(
    "shape",
    [(2, 3, 37, 53), (1, 1, 37, 53), (2, 1, 1, 53), (1, 3, 37, 53), (2, 3, 1, 53), (1, 1, 1, 53)],
)
def test_bias_of_any_shape_equals_float64(shape):
    arrays, bias = operands(2, 3, 37, 53, 16), normal(*shape, seed=5)
    assert_as_accurate_as_torch(attend(*arrays, bias), *arrays, bias)


def minus_infinity_where(hidden: np.ndarray) -> np.ndarray:
    return np.where(hidden, -np.inf, 0).astype("float32")


@TARGETS
@pytest.mark.parametrize("shape", [(2, 1, 61, 200), (2, 1, 1, 200)])
def test_hidden_keys_do_not_count(shape, target):
    arrays = operands(2, 2, 61, 200, 16)
    bias = minus_infinity_where(np.random.default_rng(7).random(shape) < 0.9)
    bias[..., 3] = 0
    assert_as_accurate_as_torch(attend(*arrays, bias, target=target), *arrays, bias)


@TARGETS
def test_query_without_keys_gives_zero(target):
    arrays = operands(2, 2, 53, 210, 16)
    hidden = np.zeros((2, 1, 53, 210), bool)
    hidden[0, :, 5:20] = True
    hidden[1, :, :, :200] = True  # the whole first pass, then some keys
    hidden[1, :, 52] = True
    bias = minus_infinity_where(hidden)
    result = attend(*arrays, bias, target=target)
    assert (result[0, :, 5:20] == 0).all() and (result[1, :, 52] == 0).all()
    assert_as_accurate_as_torch(result, *arrays, bias)


def test_item_without_any_key_gives_zero():
    arrays = operands(2, 2, 30, 40, 16)
    bias = minus_infinity_where(np.array([True, False])[:, None, None, None].repeat(40, 3))
    result = attend(*arrays, bias)
    assert (result[0] == 0).all()
    assert_as_accurate_as_torch(result, *arrays, bias)


@pytest.mark.parametrize(("queries", "keys"), [(50, 50), (20, 70), (70, 20), (131, 402)])
@pytest.mark.parametrize("mask", ["TopLeft", "BottomRight"])
def test_causal_masks_as_relax_defines_them(queries, keys, mask):
    arrays = operands(1, 2, queries, keys, 16)
    beyond = 0 if mask == "TopLeft" else abs(queries - keys)
    bias = minus_infinity_where(~np.tri(queries, keys, beyond, dtype=bool))[None, None]
    result = attend(*arrays, causal_mask=mask)
    assert_as_accurate_as_torch(result, *arrays, bias)


def test_causal_mask_of_symbolic_sizes_and_a_bias():
    shapes = [("b", 2, "s", 16), ("b", 2, "t", 16), ("b", 2, "t", 16), (1, 1, "s", "t")]
    run = placed(program(*shapes, causal_mask="TopLeft"))
    for queries, keys in [(3, 5), (90, 70), (70, 300)]:
        arrays, bias = operands(2, 2, queries, keys, 16), normal(1, 1, queries, keys, seed=4)
        visible = np.where(np.tri(queries, keys, dtype=bool), bias, -np.inf).astype("float32")
        assert_as_accurate_as_torch(run(*arrays, bias), *arrays, visible)


def test_large_scores_do_not_overflow():
    q, k, v = operands(1, 2, 40, 250, 16)
    result = attend(100 * q, 100 * k, v)
    assert np.isfinite(result).all()
    assert np.abs(result - in_torch(100 * q, 100 * k, v)).max() <= 1e-2
    falling = -1e4 * np.arange(250, dtype="float32")[None, None, None]
    np.testing.assert_allclose(attend(q, k, v, falling), v[:, :, :1].repeat(40, 2), atol=1e-6)
    np.testing.assert_allclose(
        attend(q, k, v, falling[..., ::-1].copy()), v[:, :, -1:].repeat(40, 2), atol=1e-6
    )


def test_lowest_finite_bias_is_no_mask():
    # -infinity hides a key, the lowest float32 does not: equally low keys share the weight.
    q, k, v = operands(1, 1, 20, 30, 8)
    bias = np.full((1, 1, 20, 30), np.finfo("float32").min, "float32")
    result = attend(q, k, v, bias)
    np.testing.assert_allclose(result, v.mean(2, keepdims=True).repeat(20, 2), atol=1e-6)


def test_large_and_tiny_values_keep_their_size():
    q, k, v = operands(1, 1, 20, 300, 8)
    for size in (1e30, 1e-30):
        big = (v * np.float32(size)).astype("float32")
        assert_as_accurate_as_torch(attend(q, k, big), q, k, big)


def test_large_scores_of_many_passes_weigh_alike():
    # What one pass takes away as the largest score has to be what the next one makes up for.
    q, k, v = operands(1, 1, 40, 1300, 64)
    k = k * np.float32(0.1) + np.float32(1.0)
    q = np.float32(10) + q * np.float32(0.1)
    assert (q @ k.swapaxes(-1, -2) / 8).min() > 60
    assert_as_accurate_as_torch(attend(q, k, v), q, k, v)


def test_nan_stays_in_its_query():
    q, k, v = operands(1, 1, 50, 60, 8)
    q[0, 0, 7, 3] = np.nan
    result = attend(q, k, v)
    assert np.isnan(result[0, 0, 7]).all()
    assert np.isfinite(np.delete(result, 7, axis=2)).all()


def test_long_sums_err_no_more_than_in_torch():
    arrays = operands(1, 1, 16, 5184, 32)
    assert_as_accurate_as_torch(attend(*arrays), *arrays)


@BFLOAT16
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_bfloat16_errs_no_more_than_torch_in_bfloat16(sizes):
    arrays = operands(*sizes)
    referee = exact(*arrays)
    own = np.abs(attend(*arrays, precision="bfloat16") - referee).max()
    of_torch = np.abs(in_torch(*arrays, dtype=torch.bfloat16) - referee).max()
    # Half a unit in the last place of a bfloat16 is the least that rounding the values can cost.
    assert own <= max(1.5 * of_torch, 2**-8 * np.abs(arrays[2]).max())


@BFLOAT16
def test_bfloat16_of_symbolic_sizes_with_masks():
    shapes = [("b", 2, "s", 24), ("b", 2, "t", 24), ("b", 2, "t", 15), ("b", 1, "s", "t")]
    run = placed(program(*shapes), precision="bfloat16")
    for queries, keys in [(1, 1), (5, 7), (33, 201), (97, 390)]:
        arrays = operands(2, 2, queries, keys, 24, 15)
        hidden = np.random.default_rng(0).random((2, 1, queries, keys)) < 0.5
        hidden[:, :, 0] = True
        bias = minus_infinity_where(hidden)
        result = run(*arrays, bias)
        assert (result[:, :, 0] == 0).all()
        assert np.abs(result - exact(*arrays, bias)).max() <= 0.02
