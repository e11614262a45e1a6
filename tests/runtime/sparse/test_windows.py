"""Window plans partition voxels as the reference does."""

import numpy as np
import pytest

from sam_tvm.runtime.sparse import window_plan


@pytest.mark.parametrize(
    ("resolution", "count", "window", "shift"),
    [(64, 2000, 8, 0), (64, 2000, 8, 4), (16, 900, 4, 2), (8, 512, 8, 0), (4, 1, 8, 4)],
)
def test_windows_are_those_of_the_reference(
    voxels, reference, sparse_tensor, resolution, count, window, shift
):
    coords = voxels(resolution, count)
    plan = window_plan(coords, window, shift)
    tensor = sparse_tensor(np.zeros((count, 1), np.float32), coords)
    order, _, lengths, _ = reference.window_partition(tensor, window, shift)
    assert plan.windows.shape == (len(lengths), max(lengths))
    expected = np.split(order.numpy(), np.cumsum(lengths)[:-1])
    for row, members in zip(plan.windows, expected, strict=True):
        # The reference sorts unstably: within a window its order has no meaning.
        np.testing.assert_array_equal(row[: len(members)] - 1, np.sort(members))
        assert not row[len(members) :].any()


@pytest.mark.parametrize("shift", [0, 4])
def test_slots_lead_back_to_the_voxels(voxels, shift):
    coords = voxels(32, 1500)
    plan = window_plan(coords, 8, shift)
    np.testing.assert_array_equal(plan.windows.reshape(-1)[plan.slot], np.arange(1, 1501))
    assert plan.windows.dtype == plan.slot.dtype == np.int32
