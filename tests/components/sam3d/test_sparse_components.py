"""The sparse components' cases: inputs as declared, and of voxels that leave nothing untried."""

import numpy as np
import pytest

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.components.sam3d.voxels import occupied
from sam_tvm.models.presets import get_preset
from sam_tvm.runtime.sparse import neighbour_table

CONFIG = get_preset("tiny").sam3d
SPARSE = components.select(["slat_generator", "gs_decoder", "gs_decoder_4", "mesh_decoder"])


def sizes_of(component, case):
    """Size of each dynamic axis in a case, which has to be the same wherever it is named."""
    arrays, sizes = make_inputs(component, CONFIG, case), {}
    specs = component.signature(CONFIG).inputs
    assert list(arrays) == [spec.name for spec in specs]
    for spec in specs:
        array = arrays[spec.name]
        assert array.dtype.name == spec.dtype
        assert array.flags.c_contiguous
        for declared, size in zip(spec.shape, array.shape, strict=True):
            assert sizes.setdefault(declared, size) == size
            assert isinstance(declared, str) or declared == size
    return {axis: size for axis, size in sizes.items() if isinstance(axis, str)}


@pytest.mark.parametrize("component", SPARSE, ids=lambda component: component.name)
def test_inputs_are_as_declared_and_the_sizes_differ_between_cases(component):
    cases = [sizes_of(component, case) for case in component.cases]
    assert [case["N"] for case in cases] == [c.sizes["N"] for c in component.cases]
    assert min(cases[0].values()) > 1  # what torch.export would take for a constant
    for axis in cases[0]:
        assert len({case[axis] for case in cases}) == len(cases)


@pytest.mark.parametrize("component", SPARSE, ids=lambda component: component.name)
def test_inputs_repeat(component):
    first, second = (make_inputs(component, CONFIG, component.cases[0]) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


def test_voxels_are_distinct_in_order_with_lone_ones_and_corners():
    coords = occupied(32, 1500, np.random.default_rng(0))
    codes = np.ravel_multi_index(coords.T, (32, 32, 32))
    assert len(coords) == 1500
    assert (np.diff(codes) > 0).all()
    assert codes[0] == 0
    assert codes[-1] == 32**3 - 1
    neighbours = (neighbour_table(coords, 32) > 0).sum(1)
    assert (neighbours == 1).sum() >= 8
    assert (neighbours > 9).sum() > 500
