"""Where libraries run."""

import numpy as np
import pytest
import tvm

from sam_tvm.runtime.device import find_device, shares_memory, to_array, to_device
from sam_tvm.runtime.errors import UserError


def test_this_cpu_shares_its_memory():
    device = find_device("llvm")
    array = np.arange(64, dtype="float32")
    tensor = tvm.runtime.tensor(array)
    assert shares_memory(device)
    assert to_device(tensor, device) is tensor
    view = to_array(tensor, device)
    np.testing.assert_array_equal(view, array)
    assert np.shares_memory(view, np.from_dlpack(tensor))


def test_a_device_that_is_not_here_is_named():
    with pytest.raises(UserError, match="no metal device runs here"):
        find_device("metal")
