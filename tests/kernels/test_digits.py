"""float32 products in int8 tiles: digits of fixed point, their errors, sizes that fill nothing."""

import numpy as np
import pytest
from relax_programs import normal, tile_target
from test_matrix_tiles import rms, uses_digits
from test_panels import linear

from sam_tvm.kernels.amx.waiting import WaitingDigits

pytestmark = pytest.mark.skipif(tile_target() is None, reason="no AMX here, and none in software")


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    run = linear(tile_target(), "float32", x.shape, weight.shape[1])
    assert uses_digits(run)
    return run(x, weight)


@pytest.mark.parametrize("terms", [256, 1024, 4736])
def test_digits_err_as_float32_does(terms):
    """Against a BLAS in float32, whose sums are as long."""
    x, weight = normal(260, terms), normal(terms, 70, seed=1)
    exact = x.astype("float64") @ weight.astype("float64")
    error, plain = product(x, weight) - exact, x @ weight - exact
    assert rms(error) <= 1.25 * rms(plain)
    assert abs(error).max() <= 1.25 * abs(plain).max()


@pytest.mark.parametrize("rows", [256, 257, 331])
@pytest.mark.parametrize("terms", [256, 263, 321, 577])
@pytest.mark.parametrize("columns", [16, 17, 70])
def test_sizes_that_fill_no_tile(rows, terms, columns):
    x, weight = normal(rows, terms), normal(terms, columns, seed=1)
    exact = x.astype("float64") @ weight.astype("float64")
    np.testing.assert_allclose(product(x, weight), exact, rtol=0, atol=1e-4)


def test_a_number_is_kept_as_if_it_were_as_large_as_the_largest_in_its_row():
    """A weight that only picks terms shows each row's numbers as they were cut."""
    x = normal(300, 256) * np.exp(3 * normal(300, 256, seed=1))
    picked = product(x, np.eye(256, dtype="float32"))
    assert (abs(picked - x) <= abs(x).max(1, keepdims=True) / 2**22).all()


def test_a_number_far_above_the_others_costs_what_it_adds():
    """The bound of fixed point: units of the largest numbers, for each product that is added."""
    x, weight = normal(300, 512), normal(512, 64, seed=1)
    x[:, 7] *= 1000
    weight[300] *= 50
    exact = x.astype("float64") @ weight.astype("float64")
    largest = abs(x).max(1)[:, None] * abs(weight).max(0)
    assert (abs(product(x, weight) - exact) <= 512**0.5 * 2**-21 * largest).all()


def test_rows_and_columns_of_zeros_stay_zero():
    x, weight = normal(300, 256), normal(256, 64, seed=1)
    x[5], weight[:, 9] = 0, 0
    result = product(x, weight)
    assert (result[5] == 0).all() and (result[:, 9] == 0).all()


def test_numbers_below_the_normal_ones_do_no_harm():
    x, weight = normal(300, 256), normal(256, 64, seed=1)
    x[5] = np.float32(1e-42)
    result = product(x, weight)
    assert np.isfinite(result).all() and abs(result[5]).max() < 1e-35


def test_a_weight_that_is_not_finite_shows_in_its_column_alone():
    x, weight = normal(300, 256), normal(256, 64, seed=1)
    weight[3, 5], weight[200, 40] = np.inf, np.nan
    assert set(np.flatnonzero(~np.isfinite(product(x, weight)).all(0))) == {5, 40}


def test_a_pass_combines_no_more_sums_than_a_block_has():
    WaitingDigits(16, None, None)
    with pytest.raises(ValueError, match="17 steps"):
        WaitingDigits(17, None, None)
