"""Few queries meet the weights of keys and values, which are never computed, against float64."""

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, function, normal, runnable_targets, vector_target
from tvm import relax

from sam_tvm.kernels import attention
from sam_tvm.kernels.graph import activations
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16

BATCH, HEADS, DEPTH, CHANNELS, POSITIONS = 2, 4, 16, 48, 600
WIDTH = HEADS * DEPTH
ROUNDED = pytest.mark.skipif(not computes_bfloat16(vector_target()), reason="no AVX-512 here")


def by_heads(x, positions_first):
    """(T, B, H * D), or (B, T, H * D), to (B, T, H, D), by way of heads that join the batch."""
    op, emit = relax.op, relax.BlockBuilder.current().emit
    if not positions_first:
        batch, positions, _ = x.ty.shape
        return emit(op.reshape(x, (batch, positions, HEADS, DEPTH)))
    positions, batch, _ = x.ty.shape
    x = emit(op.permute_dims(emit(op.reshape(x, (positions, batch * HEADS, DEPTH))), [1, 0, 2]))
    x = emit(op.reshape(x, (batch, HEADS, positions, DEPTH)))
    return emit(op.permute_dims(x, [0, 2, 1, 3]))


def cross_attention(positions_first=True, biases=True, causal=None):
    def build(q, x, y, wk, wv, *rest):
        op, emit = relax.op, relax.BlockBuilder.current().emit
        keys, values = emit(op.matmul(x, wk)), emit(op.matmul(y, wv))
        if biases:
            keys, values = emit(op.add(keys, rest[0])), emit(op.add(values, rest[1]))
        keys, values = (by_heads(each, positions_first) for each in (keys, values))
        return op.nn.attention(q, keys, values, causal_mask=causal)

    return build


def shapes(queries=5, positions=POSITIONS, positions_first=True, biases=True):
    x = (positions, BATCH, CHANNELS) if positions_first else (BATCH, positions, CHANNELS)
    weights = [(CHANNELS, WIDTH)] * 2 + [(WIDTH,)] * (2 if biases else 0)
    return [(BATCH, queries, HEADS, DEPTH), x, x, *weights]


def rewritten(build, shapes, target=None, precision="float32"):
    module = function(build, *((shape, "float32") for shape in shapes))
    module["main"] = module["main"].with_attr("num_input", 3)
    panels = panels_for(target or vector_target(), precision)
    after = attention.project_few_queries()(module)
    return module, after, activations.place(panels)(after)


def exact(q, x, y, wk, wv, bk=0.0, bv=0.0, positions_first=True):
    """Attention in float64, (B, Q, H, D)."""
    q, x, y = (each.astype("float64") for each in (q, x, y))
    if positions_first:
        x, y = x.transpose(1, 0, 2), y.transpose(1, 0, 2)
    split = (*x.shape[:2], HEADS, DEPTH)
    keys, values = (x @ wk + bk).reshape(split), (y @ wv + bv).reshape(split)
    scores = np.einsum("bqhd,bkhd->bhqk", q, keys) / np.sqrt(DEPTH)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, values)


def arrays(of):
    made = [normal(*shape, seed=i) for i, shape in enumerate(of)]
    return [a / np.float32(np.sqrt(CHANNELS)) if i in (3, 4) else a for i, a in enumerate(made)]


def largest_product(module) -> int:
    """The most elements that a product of the Relax function makes of each picture."""
    found = [0]

    def look(value):
        if isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.matmul"):
            found.append(int(np.prod([getattr(e, "value", 1) for e in value.ty.shape])))

    relax.analysis.post_order_visit(module["main"], look)
    return max(found)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
@pytest.mark.parametrize("positions_first", [True, False])
@pytest.mark.parametrize("biases", [True, False])
def test_no_key_is_computed_and_results_equal_float64(biases, positions_first, target):
    of = shapes(positions_first=positions_first, biases=biases)
    before, after, placed = rewritten(cross_attention(positions_first, biases), of, target)
    assert largest_product(before) == BATCH * POSITIONS * WIDTH
    assert largest_product(after) == BATCH * 5 * HEADS * POSITIONS
    inputs = arrays(of)
    expected = exact(*inputs, positions_first=positions_first)
    # Results near 1, softmax over 600 positions of scores of some units.
    assert abs(Compiled(placed, target)(*inputs) - expected).max() <= 3e-6


def test_any_number_of_queries():
    _, _, placed = rewritten(cross_attention(), shapes(queries="n"))
    run = Compiled(placed, vector_target())
    for queries in (1, 3, 40):
        inputs = arrays(shapes(queries=queries))
        assert abs(run(*inputs) - exact(*inputs)).max() <= 3e-6


@ROUNDED
def test_bfloat16_errs_by_its_rounding():
    of = shapes()
    _, _, placed = rewritten(cross_attention(), of, precision="bfloat16")
    inputs = arrays(of)
    expected = exact(*inputs)
    error = Compiled(placed, vector_target())(*inputs) - expected
    # What is rounded, by 2**-9 at most: projected queries, pictures (twice), weights of softmax.
    assert np.sqrt(np.mean(error**2)) <= 2**-7 * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize(
    ("of", "build"),
    [
        (shapes(queries=30), cross_attention()),
        (shapes(positions=100), cross_attention()),
        (shapes(positions="t"), cross_attention()),
        (shapes(), cross_attention(causal="TopLeft")),
    ],
    ids=["many queries", "few keys", "an unknown number of keys", "causal"],
)
def test_other_attention_stays(of, build):
    before, after, _ = rewritten(build, of)
    tvm.ir.assert_structural_equal(after, before)


def test_keys_that_others_read_are_computed():
    def build(q, x, y, wk, wv):
        op, emit = relax.op, relax.BlockBuilder.current().emit
        keys, values = emit(op.matmul(x, wk)), emit(op.matmul(y, wv))
        cut = [by_heads(each, True) for each in (keys, values)]
        result = emit(op.nn.attention(q, *cut))
        return op.add(result, emit(op.mean(keys)))

    before, after, _ = rewritten(build, shapes(biases=False))
    tvm.ir.assert_structural_equal(after, before)
