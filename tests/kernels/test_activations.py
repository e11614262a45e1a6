"""Products of two activations, read where they lie and rounded on the way, against float64."""

import math

import numpy as np
import pytest
import tvm
from relax_programs import (
    Compiled,
    function,
    normal,
    runnable_targets,
    tile_target,
    vector_target,
)
from test_convolution_forms import operators
from tvm import relax

from sam_tvm.kernels.graph import activations
from sam_tvm.kernels.graph.panels import Panels, panels_for
from sam_tvm.kernels.target_features import computes_bfloat16, vector_unit

torch = pytest.importorskip("torch")

# Batch, rows of `a`, of `x`, terms.
SIZES = {
    "whole tiles": (2, 48, 128, 64),
    "nothing a multiple": (3, 37, 83, 46),
    "fewer columns than lanes": (1, 40, 9, 52),
    "one block of rows": (1, 200, 301, 256),
    "several blocks": (2, 401, 70, 38),
    "long sums": (1, 25, 50, 2306),
}
UNTILED = [t for t in runnable_targets() if not vector_unit(tvm.target.Target(t)).tiles]
ROUNDED = pytest.mark.skipif(not computes_bfloat16(vector_target()), reason="no AVX-512 here")


def rows_by_rows(a, x):
    axes = [0, 2, 1]
    turned = relax.BlockBuilder.current().emit(relax.op.permute_dims(x, axes))
    return relax.op.matmul(a, turned)


def placed(build, *inputs, target=None, precision="float32", panels=None):
    module = function(build, *((shape, "float32") for shape in inputs))
    module["main"] = module["main"].with_attr("num_input", len(inputs))
    panels = panels or panels_for(target or vector_target(), precision)
    return module, activations.place(panels)(module)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    return torch.from_numpy(x).bfloat16().double().numpy()


def close_to(result: np.ndarray, exact: np.ndarray, terms: int) -> bool:
    """Errors of a float32 sum of unit products grow with the root of its length."""
    return abs(result - exact).max() <= 4e-7 * math.sqrt(terms) * abs(exact).max()


def turned(x: np.ndarray) -> np.ndarray:
    return x.astype("float64").transpose(0, 2, 1)


@pytest.mark.parametrize("target", UNTILED, ids=lambda t: t.get("mcpu", "generic"))
@pytest.mark.parametrize("name", SIZES)
def test_rows_by_rows_equal_float64(name, target):
    batch, rows, columns, terms = SIZES[name]
    shapes = (batch, rows, terms), (batch, columns, terms)
    _, module = placed(rows_by_rows, *shapes, target=target)
    assert "permute_dims" not in operators(module)
    run = Compiled(module, target)
    assert "matmul" in run.rules.values()
    a, x = normal(*shapes[0]), normal(*shapes[1], seed=1)
    assert close_to(run(a, x), a @ turned(x), terms)


def test_any_number_of_rows_of_either():
    _, module = placed(rows_by_rows, ("b", "m", 40), ("b", "n", 40))
    run = Compiled(module, vector_target())
    for batch, rows, columns in [(1, 8, 1), (2, 50, 17), (3, 400, 130)]:
        a, x = normal(batch, rows, 40), normal(batch, columns, 40, seed=1)
        assert close_to(run(a, x), a @ turned(x), 40)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=ROUNDED)])
@pytest.mark.parametrize("axes", [(1, 0, 2), (1, 2, 0)], ids=["columns", "rows"])
def test_batches_inside_of_what_is_permuted_are_read_where_they_lie(axes, precision):
    """What is permuted is (64, B, 64), with any number of batches between its rows."""

    def build(a, x):
        turned = relax.BlockBuilder.current().emit(relax.op.permute_dims(x, axes))
        return relax.op.matmul(a, turned)

    _, module = placed(build, ("b", 40, 64), (64, "b", 64), precision=precision)
    assert operators(module) == ["call_tir"]
    run = Compiled(module, vector_target())
    for batch in (1, 3):
        a, x = normal(batch, 40, 64), normal(64, batch, 64, seed=1)
        a_, x_ = (a, x) if precision == "float32" else (to_bfloat16(a), to_bfloat16(x))
        expected = a_.astype("float64") @ x_.transpose(axes)
        assert close_to(run(a, x), expected, 256)


def test_what_follows_joins_the_product():
    def build(a, x, bias):
        emit = relax.BlockBuilder.current().emit
        return relax.op.nn.relu(emit(relax.op.add(emit(rows_by_rows(a, x)), bias)))

    _, module = placed(build, (2, 40, 32), (2, 90, 32), (2, 40, 1))
    run = Compiled(module, vector_target())
    assert len(run.rules) == 1
    a, x, bias = normal(2, 40, 32), normal(2, 90, 32, seed=1), normal(2, 40, 1, seed=2)
    assert close_to(run(a, x, bias), np.maximum(a @ turned(x) + bias, 0), 32)


@ROUNDED
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("name", [name for name in SIZES if name != "fewer columns than lanes"])
def test_products_of_rounded_operands_equal_float64(name, across):
    """Each operand is rounded once; the sums are float32."""
    batch, rows, columns, terms = SIZES[name]
    shapes = (batch, rows, terms), (batch, columns, terms) if across else (batch, terms, columns)
    build = rows_by_rows if across else relax.op.matmul
    before, module = placed(build, *shapes, precision="bfloat16")
    assert "matmul" not in operators(module) and "matmul" in operators(before)
    run = Compiled(module, vector_target())
    a, x = normal(*shapes[0]), normal(*shapes[1], seed=1)
    y = to_bfloat16(x)
    # Pairs of products are added before they join a sum, which may be longer than in float32.
    expected = to_bfloat16(a) @ (y.transpose(0, 2, 1) if across else y)
    assert close_to(run(a, x), expected, 4 * terms)


@ROUNDED
@pytest.mark.parametrize(
    "shapes", [((1, 40, 33), (1, 33, 64)), ((1, 40, 32), (1, 32, 7)), ((1, 3, 32), (1, 32, 64))]
)
def test_products_that_fill_no_pairs_stay_in_float32(shapes):
    before, module = placed(relax.op.matmul, *shapes, precision="bfloat16")
    tvm.ir.assert_structural_equal(module, before)


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (relax.op.matmul, [(2, 40, 32), (2, 32, 64)]),
        (rows_by_rows, [(1, 40, 32), (2, 64, 32)]),
        (rows_by_rows, [(1, 40, "k"), (1, 64, "k")]),
        (relax.op.matmul, [(40, 32), (32,)]),
    ],
    ids=["not across", "one for several", "an unknown number of terms", "a vector"],
)
def test_other_products_stay(build, shapes):
    before, module = placed(build, *shapes)
    tvm.ir.assert_structural_equal(module, before)


@pytest.mark.parametrize(("rows", "is_placed"), [(40, False), ("m", True)])
def test_matrix_tiles_have_their_own_way_with_a_known_number_of_rows(rows, is_placed):
    panels = Panels(32, bfloat16=True, tiles=True)
    _, module = placed(rows_by_rows, (1, rows, 32), (1, 64, 32), panels=panels)
    assert ("matmul" not in operators(module)) == is_placed


@pytest.mark.skipif(tile_target() is None, reason="needs tiles, in software at least")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_multiply_an_unknown_number_of_rows_beside_tiles(precision):
    _, module = placed(
        rows_by_rows, (1, "m", 64), (1, 70, 64), target=tile_target(), precision=precision
    )
    a, x = normal(1, 50, 64), normal(1, 70, 64, seed=1)
    a_, x_ = (a, x) if precision == "float32" else (to_bfloat16(a), to_bfloat16(x))
    assert close_to(Compiled(module, tile_target())(a, x), a_ @ turned(x_), 256)
