"""Products in digits where a channel far above the others meets next to nothing in the weight."""

import numpy as np
import pytest
import tvm_ffi
from relax_programs import Compiled, function, normal, tile_target, vector_target
from test_convolution_forms import operators
from test_matrix_tiles import rms, uses_digits
from tvm import relax

from sam_tvm.kernels import amx
from sam_tvm.kernels.graph import packing
from sam_tvm.kernels.graph.panels import Panels, panels_for

ROWS, TERMS, COLUMNS = 260, 264, 70
TILES = Panels(32, False, tiles=True)
LOUD = 7  # the channel far above the others

needs_tiles = pytest.mark.skipif(tile_target() is None, reason="no AMX here, and none in software")


def emit(value):
    return relax.BlockBuilder.current().emit(value)


def normed(x, gamma, beta, *weights):
    x = emit(relax.op.nn.layer_norm(x, gamma, beta, axes=-1))
    products = [emit(relax.op.matmul(x, weight)) for weight in weights]
    return products[0] if len(products) == 1 else relax.Tuple(products)


def perceptron(x, weight, bias, second):
    hidden = emit(relax.op.add(emit(relax.op.matmul(x, weight)), bias))
    return relax.op.matmul(emit(relax.op.nn.relu(hidden)), second)


def program(build, *shapes, rows=ROWS, num_input=1):
    """The function of x and of parameters of these shapes."""
    module = function(build, ((rows, TERMS), "float32"), *((shape, "float32") for shape in shapes))
    module["main"] = module["main"].with_attr("num_input", num_input)
    return module


def norm_program(columns=(COLUMNS,), rows=ROWS):
    return program(normed, (TERMS,), (TERMS,), *((TERMS, n) for n in columns), rows=rows)


def balanced(module, panels=TILES):
    return amx.balance_terms(panels)(module)


def is_unchanged(module, panels=TILES) -> bool:
    return tvm_ffi.structural_equal(balanced(module, panels), module)


def in_digits(module) -> Compiled:
    packed = packing.pack_weights(panels_for(tile_target(), "float32"))(module)
    run = Compiled(relax.transform.CanonicalizeBindings()(packed), tile_target())
    assert uses_digits(run)
    return run


def loud(quiet=1e-3, columns=(COLUMNS,)):
    """A norm with a channel a thousand times the others, and weights that make up for that."""
    gamma, beta = normal(TERMS, seed=1), normal(TERMS, seed=2)
    gamma[LOUD] = 1000
    weights = [normal(TERMS, n, seed=3 + i) for i, n in enumerate(columns)]
    for weight in weights:
        weight[LOUD] *= quiet
    return normal(ROWS, TERMS), gamma, beta, *weights


def norm_of(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * gamma + beta


def errors(run, arrays):
    """RMS errors against float64: of a module, and of a BLAS in float32."""
    x, *rest = [array.astype("float64") for array in arrays]
    exact = norm_of(x, *rest[:2]) @ rest[2]
    x, *rest = arrays
    return rms(run(*arrays) - exact), rms(norm_of(x, *rest[:2]) @ rest[2] - exact)


@needs_tiles
def test_a_norm_takes_the_factors_into_its_own_parameters_and_digits_err_as_float32_does():
    arrays = loud()
    before, plain = errors(in_digits(norm_program()), arrays)
    after, _ = errors(in_digits(balanced(norm_program())), arrays)
    assert before > 30 * plain
    assert after <= 4 * plain


@needs_tiles
def test_what_a_perceptron_hides_is_balanced_where_it_is_computed():
    module = program(perceptron, (TERMS, TERMS), (TERMS,), (TERMS, COLUMNS))
    x, weight, second = normal(ROWS, TERMS), normal(TERMS, TERMS, seed=1) / 16, loud()[3]
    bias = normal(TERMS, seed=2)
    bias[LOUD] = 1000
    arrays = (x, weight, bias, second)
    exact = [array.astype("float64") for array in arrays]
    exact = np.maximum(exact[0] @ exact[1] + exact[2], 0) @ exact[3]
    plain = rms(np.maximum(x @ weight + bias, 0) @ second - exact)
    assert rms(in_digits(module)(*arrays) - exact) > 30 * plain
    run = in_digits(balanced(module))
    assert rms(run(*arrays) - exact) <= 4 * plain
    assert [rule for name, rule in run.rules.items() if "relu" in name] == ["matmul"]


def test_in_float32_no_bit_changes():
    arrays = loud()
    before, after = (
        Compiled(module, vector_target())(*arrays)
        for module in (norm_program(), balanced(norm_program()))
    )
    assert operators(balanced(norm_program())) != operators(norm_program())
    np.testing.assert_array_equal(after, before)


@needs_tiles
def test_weights_that_are_alike_are_left_as_they_are():
    arrays = loud(quiet=1.0)
    before = in_digits(norm_program())(*arrays)
    np.testing.assert_array_equal(in_digits(balanced(norm_program()))(*arrays), before)


@needs_tiles
def test_products_of_the_same_rows_share_factors():
    """What one of them needs is kept for it."""
    columns = (COLUMNS, 33)
    x, gamma, beta, first, second = loud(columns=columns)
    second[LOUD] *= 1000
    run = in_digits(balanced(norm_program(columns)))
    exact = norm_of(*(a.astype("float64") for a in (x, gamma, beta)))
    result = run(x, gamma, beta, first, second)[1]
    plain = norm_of(x, gamma, beta) @ second
    assert rms(result - exact @ second) <= 10 * rms(plain - exact @ second)


@pytest.mark.parametrize("quiet", [0.0, 1e-30, np.inf, np.nan])
def test_weights_without_a_size_do_no_harm(quiet):
    x, gamma, beta, weight = loud()
    weight[LOUD] = quiet
    result = Compiled(balanced(norm_program()), vector_target())(x, gamma, beta, weight)
    if not np.isfinite(quiet):
        assert not np.isfinite(result).any()
        return
    exact = norm_of(*(a.astype("float64") for a in (x, gamma, beta))) @ weight
    np.testing.assert_allclose(result, exact, rtol=0, atol=2e-4)


def test_a_weight_of_zeros_gives_zeros():
    x, gamma, beta, weight = loud()
    result = Compiled(balanced(norm_program()), vector_target())(x, gamma, beta, weight * 0)
    assert (result == 0).all()


def test_rows_may_be_moved_about_before_the_product():
    def build(x, gamma, beta, weight):
        x = emit(relax.op.nn.layer_norm(x, gamma, beta, axes=-1))
        x = emit(relax.op.permute_dims(emit(relax.op.reshape(x, (2, -1, TERMS))), [1, 0, 2]))
        return relax.op.matmul(x, weight)

    module, arrays = program(build, (TERMS,), (TERMS,), (TERMS, COLUMNS)), loud()
    assert not is_unchanged(module)
    plain = Compiled(module, vector_target())(*arrays)
    np.testing.assert_array_equal(Compiled(balanced(module), vector_target())(*arrays), plain)


def test_channels_that_become_rows_are_left_alone():
    def build(x, gamma, beta, weight):
        x = emit(relax.op.nn.layer_norm(x, gamma, beta, axes=-1))
        return relax.op.matmul(emit(relax.op.reshape(x, (TERMS, ROWS))), weight)

    assert is_unchanged(program(build, (TERMS,), (TERMS,), (ROWS, COLUMNS)))


def test_any_number_of_rows():
    module = norm_program(rows="n")
    assert not is_unchanged(module)
    arrays = loud()
    plain = Compiled(module, vector_target())(*arrays)
    np.testing.assert_array_equal(Compiled(balanced(module), vector_target())(*arrays), plain)


@pytest.mark.parametrize("panels", [Panels(64, False), Panels(32, True, tiles=True)], ids=str)
def test_other_products_need_no_balance(panels):
    assert is_unchanged(norm_program(), panels)


def test_few_rows_are_not_in_digits():
    assert is_unchanged(norm_program(rows=255))


def test_what_others_read_too_is_left_alone():
    def build(x, gamma, beta, weight):
        x = emit(relax.op.nn.layer_norm(x, gamma, beta, axes=-1))
        return relax.Tuple([emit(relax.op.matmul(x, weight)), emit(relax.op.exp(x))])

    assert is_unchanged(program(build, (TERMS,), (TERMS,), (TERMS, COLUMNS)))


def test_a_product_with_what_was_given_is_left_alone():
    """Nothing that it could join computes x."""
    assert is_unchanged(program(lambda x, w: relax.op.matmul(x, w), (TERMS, COLUMNS)))


def test_weights_may_be_made_behind_what_they_meet():
    def build(x, gamma, beta, weight):
        x = emit(relax.op.nn.layer_norm(x, gamma, beta, axes=-1))
        return relax.op.matmul(x, emit(relax.op.permute_dims(weight, [1, 0])))

    module = balanced(program(build, (TERMS,), (TERMS,), (COLUMNS, TERMS)))
    x, gamma, beta, weight = loud()
    result = Compiled(module, vector_target())(x, gamma, beta, np.ascontiguousarray(weight.T))
    plain = Compiled(norm_program(), vector_target())(x, gamma, beta, weight)
    np.testing.assert_array_equal(result, plain)
