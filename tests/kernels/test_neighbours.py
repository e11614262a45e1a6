"""Epilogues that read a sum's neighbour join their product; the rotation of pairs is one."""

from __future__ import annotations

import numpy as np
import pytest
from relax_programs import compiled, normal, runnable_targets
from tvm import relax
from tvm.target import Target

from sam_tvm.kernels import streaming
from sam_tvm.kernels.graph import panels
from sam_tvm.kernels.neighbours import READS_NEIGHBOURS
from sam_tvm.kernels.rotary.placement import arranged, rotate
from sam_tvm.kernels.target_features import computes_bfloat16, vector_unit

DEPTH = 64


def precisions():
    for config in runnable_targets():
        yield config, "float32"
        if computes_bfloat16(Target(config)):
            yield config, "bfloat16"


def projection(form, columns, heads, lanes, rounds=False):
    """A product with a bias, of which the first heads are turned."""

    def build(x, w, bias, table):
        builder = relax.BlockBuilder.current()
        sums = panels.matmul(builder, x, panels.pack(builder, w, form), columns, form)
        sums = builder.emit(relax.op.add(sums, bias))
        turned = builder.emit_te(
            rotate,
            sums,
            table,
            DEPTH,
            [(0, heads * DEPTH)],
            lanes,
            primfunc_name_hint="rotate",
            primfunc_attrs={READS_NEIGHBOURS: True},
        )
        return panels.round_operand(builder, turned) if rounds else turned

    return build


def inputs(rows, terms, columns):
    """Factors that bfloat16 has, a bias and a table."""
    shapes = [(*rows, terms), (terms, columns), (columns,), (*rows, DEPTH)]
    x, w, *others = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    return [*((a.view("uint32") & 0xFFFF0000).view("float32") for a in (x, w)), *others]


def expected(x, w, bias, table, heads, lanes):
    """The same in float64, as complex numbers, for channels in their own order."""
    order = arranged(len(bias), DEPTH, frozenset(range(heads)), lanes)
    sums = np.empty((*x.shape[:-1], len(bias)))
    sums[..., order] = x.astype("float64") @ w + bias
    pairs = sums.reshape(*x.shape[:-1], -1, DEPTH // 2, 2)
    numbers = pairs[..., 0] + 1j * pairs[..., 1]
    cosines, sines = np.split(table.astype("float64"), 2, axis=-1)
    numbers[..., :heads, :] *= (cosines + 1j * sines)[..., None, :]
    turned = np.stack([numbers.real, numbers.imag], -1).reshape(sums.shape)
    return turned[..., order]


def run(config, precision, rows, terms, columns, heads, lanes):
    form = panels.panels_for(Target(config), precision)
    arrays = inputs(rows, terms, columns)
    shapes = [(array.shape, "float32") for array in arrays]
    program = compiled(projection(form, columns, heads, lanes), *shapes, target=config)
    return program, program(*arrays), expected(*arrays, heads, lanes)


@pytest.mark.parametrize(("config", "precision"), list(precisions()))
@pytest.mark.parametrize(
    ("rows", "terms", "columns", "heads"),
    [((37,), 48, 128, 1), ((2, 5, 7), 96, 192, 2), ((1, 300), 320, 320, 4)],
)
def test_pairs_are_turned_where_their_product_stores_them(
    config, precision, rows, terms, columns, heads
):
    lanes = vector_unit(Target(config)).lanes
    program, result, reference = run(config, precision, rows, terms, columns, heads, lanes)
    assert program.rules["fused_matmul_panels_add_rotate"] == "matmul"
    np.testing.assert_allclose(result, reference, rtol=0, atol=1e-6 * terms)


def test_neighbours_in_another_panel_are_read_by_a_stage_of_their_own():
    """Panels of 16 columns hold no pairs of 16 columns each."""
    config = {"kind": "llvm", "mcpu": "haswell"}
    if config not in runnable_targets():
        pytest.skip("this CPU has no AVX2")
    _, result, reference = run(config, "float32", (37,), 48, 128, 1, lanes=16)
    np.testing.assert_allclose(result, reference, rtol=0, atol=1e-4)


BFLOAT16 = [config for config in runnable_targets() if computes_bfloat16(Target(config))]


@pytest.mark.parametrize("config", BFLOAT16)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("rounds", [False, True])
def test_what_is_turned_may_be_large_and_rounded(config, large, rounds, monkeypatch):
    """Large results are stored past the caches where there are matrix tiles, by cache lines."""
    if large:
        monkeypatch.setattr(streaming, "LARGE", 1)
    form = panels.panels_for(Target(config), "bfloat16")
    arrays = inputs((70,), 64, 192)
    shapes = [(array.shape, "float32") for array in arrays]
    result = compiled(projection(form, 192, 2, 16, rounds), *shapes, target=config)(*arrays)
    if rounds:
        result = (result.astype("uint32") << 16).view("float32")
    tolerance = 2**-8 if rounds else 1e-6
    np.testing.assert_allclose(result, expected(*arrays, 2, 16), rtol=tolerance, atol=1e-4)


def test_turned_heads_have_real_parts_a_vector_before_their_imaginary_ones():
    order = arranged(96, 32, frozenset([1]), 8)
    np.testing.assert_array_equal(order[:32], np.arange(32))
    np.testing.assert_array_equal(order[32:48], [*range(32, 48, 2), *range(33, 48, 2)])
    np.testing.assert_array_equal(order[64:], np.arange(64, 96))
