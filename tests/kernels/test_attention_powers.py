"""2**x of vectors by instructions for it, which AVX-512 has."""

import numpy as np
import pytest
from relax_programs import host_target, mapped

from sam_tvm.kernels.attention.powers import import_powers, power_of_two
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.target_features import vector_unit
from sam_tvm.kernels.vectors import Lanes, index

pytestmark = pytest.mark.skipif(
    not vector_unit(host_target()).has_powers, reason="this CPU has no AVX-512"
)


def powers(x: np.ndarray, degree: int) -> np.ndarray:
    """2**x of a multiple of 16 numbers."""
    lanes = Lanes(16)

    def make(source, target):
        def step(i):
            value = power_of_two(lanes.load(source, i * 16), degree)
            return lanes.store(target, value, i * 16)

        return import_powers(loop(index(x.size // 16), step, "i"))

    return mapped(make, x, host_target())


@pytest.mark.parametrize(("degree", "tolerance"), [(5, 2.2e-7), (3, 8.7e-5)])
def test_powers_of_two_are_exact_to_a_unit_or_for_what_is_rounded(degree, tolerance):
    x = np.linspace(-120, 3, 16 * 5000, dtype="float32")
    referee = np.exp2(x.astype("float64"))
    np.testing.assert_allclose(powers(x, degree), referee, rtol=tolerance)


def test_powers_of_what_is_not_finite():
    x = np.resize(np.array([-np.inf, np.nan, 0, -1e30], "float32"), 16)
    np.testing.assert_array_equal(powers(x, 5)[:4], [0, np.nan, 1, 0])
