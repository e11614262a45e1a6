"""Few rows meet a weight first, and the many rows that they are compared with never do."""

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, function, normal
from test_convolution_forms import operators
from tvm import relax

from sam_tvm.kernels.graph.association import multiply_few_rows_first

BATCH, FEW, MANY, TERMS, CHANNELS = 2, 5, (9, 8), 24, 40
INPUTS = (
    ((BATCH, FEW, CHANNELS), "float32"),
    ((BATCH, *MANY, TERMS), "float32"),
    ((TERMS, CHANNELS), "float32"),
    ((1, 1, 1, CHANNELS), "float32"),
)


def rewritten(build, *inputs, num_input=2):
    module = function(build, *inputs)
    module["main"] = module["main"].with_attr("num_input", num_input)
    return module, multiply_few_rows_first()(module)


def masks(rows, picture, weight, bias=None):
    """Embeddings of masks by the embeddings of all pixels."""
    emit = relax.BlockBuilder.current().emit
    pixels = emit(relax.op.matmul(picture, weight))
    if bias is not None:
        pixels = emit(relax.op.add(pixels, bias))
    batch, height, width, channels = pixels.ty.shape
    pixels = emit(relax.op.reshape(pixels, (batch, height * width, channels)))
    return relax.op.matmul(rows, emit(relax.op.permute_dims(pixels, [0, 2, 1])))


def exact(rows, picture, weight, bias=0.0):
    pixels = picture.astype("float64") @ weight + bias
    pixels = pixels.reshape(len(picture), -1, pixels.shape[-1])
    return rows.astype("float64") @ pixels.transpose(0, 2, 1)


def arrays():
    return [normal(*shape, seed=i) for i, (shape, _) in enumerate(INPUTS)]


def stored(module) -> list[tuple]:
    """The shapes of what products make."""
    found = []

    def look(value):
        if isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.matmul"):
            found.append(tuple(getattr(extent, "value", None) for extent in value.ty.shape))

    relax.analysis.post_order_visit(module["main"], look)
    return found


@pytest.mark.parametrize("with_bias", [True, False])
def test_many_rows_meet_no_weight_and_results_equal_float64(with_bias):
    count = 4 if with_bias else 3
    before, after = rewritten(masks, *INPUTS[:count])
    assert (BATCH, *MANY, CHANNELS) in stored(before)
    many = MANY[0] * MANY[1]
    expected = [(BATCH, FEW, TERMS), (BATCH, FEW, many)]
    assert [shape for shape in stored(after) if shape[-1] > 1] == expected
    inputs = arrays()[:count]
    # Sums of 960 products of normal numbers.
    assert abs(Compiled(after)(*inputs) - exact(*inputs)).max() <= 1e-4


def test_any_number_of_pictures():
    inputs = ((("b", FEW, CHANNELS), "float32"), (("b", *MANY, TERMS), "float32"), *INPUTS[2:])
    _, after = rewritten(masks, *inputs)
    assert (None, *MANY, CHANNELS) not in stored(after)
    numbers = arrays()
    assert abs(Compiled(after)(*numbers) - exact(*numbers)).max() <= 1e-4


@pytest.mark.parametrize(
    ("few", "many", "terms"),
    [(80, (4, 5), 24), ("n", MANY, TERMS), (60, MANY, 400)],
    ids=["more rows", "an unknown number of rows", "many more terms than channels"],
)
def test_what_would_not_be_cheaper_stays(few, many, terms):
    inputs = (
        ((BATCH, few, CHANNELS), "float32"),
        ((BATCH, *many, terms), "float32"),
        ((terms, CHANNELS), "float32"),
    )
    before, after = rewritten(masks, *inputs)
    tvm.ir.assert_structural_equal(after, before)


def test_a_product_that_others_read_stays():
    def build(rows, picture, weight):
        emit = relax.BlockBuilder.current().emit
        pixels = emit(relax.op.matmul(picture, weight))
        turned = emit(relax.op.permute_dims(pixels, [0, 2, 1]))
        return relax.op.add(
            emit(relax.op.sum(emit(relax.op.matmul(rows, turned)), axis=[2], keepdims=True)),
            emit(relax.op.sum(pixels, axis=[1], keepdims=True)),
        )

    shapes = ((BATCH, FEW, CHANNELS), (BATCH, 72, TERMS), (TERMS, CHANNELS))
    before, after = rewritten(build, *((shape, "float32") for shape in shapes))
    tvm.ir.assert_structural_equal(after, before)


def test_what_is_computed_between_the_products_stays():
    def build(rows, picture, weight):
        emit = relax.BlockBuilder.current().emit
        pixels = emit(relax.op.nn.relu(emit(relax.op.matmul(picture, weight))))
        return relax.op.matmul(rows, emit(relax.op.permute_dims(pixels, [0, 2, 1])))

    shapes = ((BATCH, FEW, CHANNELS), (BATCH, 72, TERMS), (TERMS, CHANNELS))
    before, after = rewritten(build, *((shape, "float32") for shape in shapes))
    assert operators(after) == operators(before)
    inputs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    rows, picture, weight = (each.astype("float64") for each in inputs)
    expected = rows @ np.maximum(picture @ weight, 0).transpose(0, 2, 1)
    assert abs(Compiled(after)(*inputs) - expected).max() <= 1e-4
