import math

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels.graph import panels as packing
from sam_tvm.kernels.target_features import computes_bfloat16

HOST, *OTHERS = runnable_targets()
PRECISIONS = [(HOST, "float32"), *((target, "float32") for target in OTHERS)]
PRECISIONS += [
    (target, "bfloat16")
    for target in (HOST, *OTHERS)
    if computes_bfloat16(tvm.target.Target(target))
]
needs_bfloat16 = pytest.mark.skipif(not computes_bfloat16(host_target()), reason="no AVX-512 here")


def label(value):
    return value.get("mcpu", "generic") if isinstance(value, dict) else str(value)


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 as float64."""
    bits = x.astype("float32").view("uint32")
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.view("float32").astype("float64")


def operands(precision: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """What is multiplied, in float64."""
    return [rounded(a) if precision == "bfloat16" else a.astype("float64") for a in arrays]


def linear(target, precision, x_shape, columns, epilogue=None, others=()) -> Compiled:
    """Return x @ W, packed in the same function."""
    form = packing.panels_for(target, precision)

    def build(x, weight, *rest):
        builder = relax.BlockBuilder.current()
        packed = packing.pack(builder, weight, form)
        result = packing.matmul(builder, x, packed, columns, form)
        return epilogue(result, *rest) if epilogue else result

    shapes = [(x_shape, "float32"), ((x_shape[-1], columns), "float32")]
    shapes += [(shape, "float32") for shape in others]
    return Compiled(function(build, *shapes), target)


def close_to(result, exact, terms):
    """Errors of a float32 sum of unit products grow with the root of its length."""
    bound = 4e-7 * math.sqrt(terms) * max(1, np.abs(exact).max())
    return result.shape == exact.shape and np.abs(result - exact).max() <= bound


SIZES = [(1, 1, 1), (1, 37, 5), (3, 4, 8), (13, 32, 16), (33, 100, 77), (97, 65, 300)]
SIZES += [(31, 513, 129), (200, 24, 64), (7, 1, 64), (1, 1024, 257)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
def test_product_equals_float64(target, precision, size):
    rows, terms, columns = size
    run = linear(target, precision, (rows, terms), columns)
    x, weight = normal(rows, terms), normal(terms, columns, seed=1)
    a, b = operands(precision, x, weight)
    assert close_to(run(x, weight), a @ b, terms)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_any_number_of_rows_equals_float64(precision):
    run = linear(HOST, precision, ("b", "n", 40), 70)
    weight = normal(40, 70, seed=1)
    for batch, rows in [(1, 1), (1, 7), (2, 31), (3, 97)]:
        x = normal(batch, rows, 40)
        a, b = operands(precision, x, weight)
        assert close_to(run(x, weight), a @ b, 40)


@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
def test_bias_gelu_and_residual_join_the_product(target, precision):
    def epilogue(product, bias, residual):
        hidden = relax.op.nn.gelu(relax.op.add(product, bias))
        return relax.op.add(hidden, residual)

    run = linear(target, precision, (50, 25), 41, epilogue, ((41,), (50, 41)))
    assert sorted(run.rules.values()) == ["elementwise", "matmul"]
    x, weight, bias, residual = normal(50, 25), normal(25, 41), normal(41), normal(50, 41)
    a, b = operands(precision, x, weight)
    hidden = a @ b + bias
    exact = hidden * (0.5 + 0.5 * np.vectorize(math.erf)(hidden / math.sqrt(2))) + residual
    result = run(x, weight, bias, residual)
    if precision == "float32":
        assert close_to(result, exact, 25)
    else:  # a short polynomial: 4e-5 of hidden units, which are below 20 here
        assert np.abs(result - exact).max() <= 4e-5 * 20


@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
@pytest.mark.parametrize("columns", [31, 192])
def test_an_operand_rounded_before_gives_the_same_bits(target, precision, columns):
    if precision != "bfloat16":
        pytest.skip("float32 is not rounded")
    form = packing.panels_for(target, precision)

    def build(is_rounded):
        def product(x, weight):
            builder = relax.BlockBuilder.current()
            packed = packing.pack(builder, weight, form)
            x = packing.round_operand(builder, x) if is_rounded else x
            return packing.matmul(builder, x, packed, columns, form)

        shapes = (((75, 320), "float32"), ((320, columns), "float32"))
        return Compiled(function(product, *shapes), target)

    x, weight = normal(75, 320), normal(320, columns, seed=1)
    np.testing.assert_array_equal(build(True)(x, weight), build(False)(x, weight))


def convolve(x: np.ndarray, weight: np.ndarray, strides, dilation) -> np.ndarray:
    """A convolution of a padded NHWC picture in float64."""
    kh, kw, _, channels = weight.shape
    height = (x.shape[1] - dilation[0] * (kh - 1) - 1) // strides[0] + 1
    width = (x.shape[2] - dilation[1] * (kw - 1) - 1) // strides[1] + 1
    result = np.zeros((x.shape[0], height, width, channels))
    for ky in range(kh):
        for kx in range(kw):
            rows = slice(ky * dilation[0], None, strides[0])
            columns = slice(kx * dilation[1], None, strides[1])
            result += x[:, rows, columns][:, :height, :width] @ weight[ky, kx]
    return result


def convolution(target, precision, x_shape, weight_shape, strides=(1, 1), dilation=(1, 1)):
    form = packing.panels_for(target, precision)

    def build(x, weight, bias):
        builder = relax.BlockBuilder.current()
        packed = packing.pack_convolution(builder, weight, form)
        result = packing.convolution(
            builder, x, packed, weight_shape[-1], weight_shape[:2], strides, dilation, form
        )
        return relax.op.nn.relu(relax.op.add(result, bias))

    shapes = [x_shape, weight_shape, weight_shape[-1:]]
    return Compiled(function(build, *((shape, "float32") for shape in shapes)), target)


CONVOLUTIONS = {
    "3x3": ((1, 13, 20, 32), (3, 3, 32, 40), (1, 1), (1, 1)),
    "odd channels": ((2, 7, 9, 5), (3, 3, 5, 7), (1, 1), (1, 1)),
    "strided": ((2, 17, 15, 8), (3, 3, 8, 33), (2, 3), (1, 1)),
    "dilated": ((1, 17, 15, 8), (3, 2, 8, 20), (1, 1), (2, 3)),
    "patches": ((1, 28, 42, 3), (14, 14, 3, 20), (14, 14), (1, 1)),
    "1x1": ((2, 5, 7, 24), (1, 1, 24, 36), (1, 1), (1, 1)),
    "one pixel": ((1, 3, 3, 300), (3, 3, 300, 10), (1, 1), (1, 1)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
def test_convolution_equals_float64(target, precision, name):
    x_shape, weight_shape, strides, dilation = CONVOLUTIONS[name]
    run = convolution(target, precision, x_shape, weight_shape, strides, dilation)
    x, weight, bias = normal(*x_shape), normal(*weight_shape, seed=1), normal(weight_shape[-1])
    a, b = operands(precision, x, weight)
    exact = np.maximum(convolve(a, b, strides, dilation) + bias, 0)
    assert close_to(run(x, weight, bias), exact, math.prod(weight_shape[:-1]))


def test_convolution_of_any_batch_and_size_equals_float64():
    run = convolution(HOST, "float32", ("b", "h", "w", 12), (3, 3, 12, 20))
    weight, bias = normal(3, 3, 12, 20, seed=1), normal(20)
    for batch, height, width in [(1, 3, 3), (2, 8, 15), (3, 5, 40)]:
        x = normal(batch, height, width, 12)
        exact = convolve(x.astype("float64"), weight, (1, 1), (1, 1))
        assert close_to(run(x, weight, bias), np.maximum(exact + bias, 0), 108)


@pytest.mark.parametrize("columns", [65, 80, 96, 130, 321])
@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
def test_last_panel_of_few_columns_equals_float64(target, precision, columns):
    run = linear(target, precision, (29, 48), columns, relax.op.nn.relu)
    x, weight = normal(29, 48), normal(48, columns, seed=1)
    a, b = operands(precision, x, weight)
    assert close_to(run(x, weight), np.maximum(a @ b, 0), 48)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_rows_that_come_in_groups_equal_float64(precision):
    run = linear(HOST, precision, ("b", 4, 40), 70)
    weight = normal(40, 70, seed=1)
    for batch in (1, 2, 3, 31):
        x = normal(batch, 4, 40)
        a, b = operands(precision, x, weight)
        assert close_to(run(x, weight), a @ b, 40)


def test_long_sums_err_no_more_than_torch():
    torch = pytest.importorskip("torch")
    for terms in (256, 1024, 4736):
        x, weight = normal(96, terms), normal(terms, 128, seed=1)
        exact = x.astype("float64") @ weight
        reference = (torch.from_numpy(x) @ torch.from_numpy(weight)).numpy()
        own = linear(HOST, "float32", (96, terms), 128)(x, weight)
        assert np.std(own - exact) <= 1.02 * np.std(reference - exact)


@needs_bfloat16
def test_nan_and_infinity_pass_through_bfloat16():
    run = linear(HOST, "bfloat16", (8, 33), 40)
    weight = np.abs(normal(33, 40, seed=1)) + 0.1
    x = np.abs(normal(8, 33)) + 0.1
    x[1, 5], x[2, 7], x[3, 32] = np.nan, np.inf, -np.inf
    x[4, 3] = np.array([0x7F800001], "uint32").view("float32")[0]  # NaN in the lowest bit alone
    x[5, 0], weight[0, 7] = 1.0, np.inf
    result = run(x, weight)
    assert np.isnan(result[[1, 4]]).all()
    assert np.isposinf(result[2]).all() and np.isneginf(result[3, np.arange(40) != 7]).all()
    assert np.isposinf(result[5, 7]) and np.isfinite(result[5, :7]).all()
    assert np.isfinite(result[0, :7]).all()


@needs_bfloat16
def test_several_bfloat16_products_in_one_library_equal_float64():
    form = packing.panels_for(HOST, "bfloat16")

    def build(x, first, second):
        builder = relax.BlockBuilder.current()
        packed = [packing.pack(builder, weight, form) for weight in (first, second)]
        hidden = relax.op.nn.relu(packing.matmul(builder, x, packed[0], 50, form))
        return packing.matmul(builder, builder.emit(hidden), packed[1], 70, form)

    shapes = [(20, 30), (30, 50), (50, 70)]
    run = Compiled(function(build, *((shape, "float32") for shape in shapes)))
    x, first, second = normal(20, 30), normal(30, 50, seed=1), normal(50, 70, seed=2)
    hidden = np.maximum(rounded(x) @ rounded(first), 0)
    exact = rounded(hidden) @ rounded(second)
    # The hidden values may round to a neighbouring bfloat16.
    assert np.abs(run(x, first, second) - exact).max() <= 2e-3 * np.abs(exact).max()


@pytest.mark.parametrize(("target", "precision"), PRECISIONS, ids=label)
def test_packed_panels_have_the_documented_layout(target, precision):
    form = packing.panels_for(target, precision)
    shape = (5, 2 * form.width - 3)
    pack = Compiled(
        function(
            lambda weight: packing.pack(relax.BlockBuilder.current(), weight, form),
            (shape, "float32"),
        ),
        target,
    )
    weight = normal(*shape)
    filled = np.pad(weight, ((0, 1), (0, 3))).reshape(6, 2, form.width).transpose(1, 0, 2)
    if precision == "float32":
        np.testing.assert_array_equal(pack(weight), filled[:, :5])
        return
    packed = pack(weight)
    assert packed.dtype == np.uint32 and packed.shape == (2, 3, form.width)
    halves = np.stack([packed << 16, packed & 0xFFFF0000], axis=2).view("float32")
    expected = rounded(filled).reshape(2, 3, 2, form.width)
    np.testing.assert_array_equal(halves.astype("float64"), expected)


def test_unknown_precision_and_missing_instructions_are_refused():
    with pytest.raises(packing.UnsupportedPrecisionError, match="float16"):
        packing.panels_for(HOST, "float16")
    with pytest.raises(packing.UnsupportedPrecisionError, match="AVX-512"):
        packing.panels_for({"kind": "llvm", "mcpu": "haswell"}, "bfloat16")
