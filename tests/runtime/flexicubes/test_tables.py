"""The case tables are the reference's and survive a file; a damaged file is an error."""

from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.flexicubes import load, save
from sam_tvm.runtime.flexicubes.cube import CORNERS, EDGES

NAMES = ("dmc_table", "num_vd_table", "check_table")


def test_tables_are_those_of_the_reference(reference, tables):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(tables, name), getattr(reference.tables, name))


def test_corners_and_edges_are_numbered_as_in_the_reference(reference):
    cubes = reference.features_to_mesh("cpu", 1, True).mesh_extractor
    np.testing.assert_array_equal(CORNERS, cubes.cube_corners.numpy())
    np.testing.assert_array_equal(EDGES.reshape(-1), cubes.cube_edges.numpy())


def test_the_same_tables_give_the_same_file(reference, tmp_path):
    for name in ("first", "second"):
        save(tmp_path / name, reference.tables)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


@pytest.mark.parametrize("change", [{"num_vd_table": [0] * 255}, {"num_vd_table": [300] * 256}])
def test_tables_of_another_form_are_not_saved(reference, tmp_path, change):
    changed = {name: getattr(reference.tables, name) for name in NAMES} | change
    with pytest.raises(ValueError, match=r"num_vd_table is not a table of shape \(256,\)"):
        save(tmp_path / "tables", SimpleNamespace(**changed))
    assert not (tmp_path / "tables").exists()


def test_a_missing_or_damaged_file_is_an_error(reference, tmp_path):
    path = tmp_path / "tables"
    with pytest.raises(BundleError, match="tables: the mesh tables cannot be read"):
        load(path)
    save(path, reference.tables)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match="tables: the mesh tables cannot be read"):
        load(path)


@pytest.mark.parametrize("table", [np.zeros((256, 5), np.int64), np.zeros((256, 4), np.int16)])
def test_a_file_of_other_tables_is_an_error(tables, tmp_path, table):
    path = tmp_path / "tables"
    save_file({**vars(tables), "check_table": table}, path)
    with pytest.raises(BundleError, match="check_table is missing or altered"):
        load(path)
