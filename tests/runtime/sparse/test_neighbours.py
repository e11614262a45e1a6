"""Neighbour tables are those by which spconv convolves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sam_tvm.runtime.errors import VoxelError
from sam_tvm.runtime.sparse import OFFSETS, neighbour_table, subdivide, subdivision_table

SCRIPT = Path(__file__).with_name("spconv_tables.py")


@pytest.fixture
def spconv_table(tmp_path):
    def run(coords: np.ndarray, resolution: int) -> np.ndarray:
        np.save(tmp_path / "voxels.npy", coords)
        arguments = [tmp_path / "voxels.npy", str(resolution), tmp_path / "table.npy"]
        # spconv's CPU kernels race with more threads.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, SCRIPT, *arguments], check=True, env=environment)
        return np.load(tmp_path / "table.npy")

    return run


def test_table_is_that_of_spconv(voxels, spconv_table):
    coords = voxels(64, 2000)
    table = neighbour_table(coords, 64)
    assert table.dtype == np.int32
    alone = (table > 0).sum(axis=1) == 1
    assert alone.sum() > 100 and not alone.all()
    assert (coords == 0).any() and (coords == 63).any()
    np.testing.assert_array_equal(table, spconv_table(coords, 64))


def test_subdivided_table_is_that_of_spconv_on_the_fine_voxels(voxels, spconv_table):
    coords = voxels(16, 1000)
    constants = subdivision_table()
    coarse = neighbour_table(coords, 16)[:, constants.tap]
    fine = np.where(coarse > 0, 8 * coarse - 7 + constants.child, 0).reshape(-1, 27)
    np.testing.assert_array_equal(fine, spconv_table(subdivide(coords), 32))


def test_columns_hold_the_voxels_at_the_offsets():
    coords = np.array([[1, 1, 1], [1, 1, 2], [0, 1, 1]])
    table = neighbour_table(coords, 3)
    tap = {tuple(offset): number for number, offset in enumerate(OFFSETS.tolist())}
    assert table[0, tap[0, 0, 1]] == 2
    assert table[0, tap[-1, 0, 0]] == 3
    assert table[1, tap[0, 0, -1]] == 1
    assert (table > 0).sum() == 3 + 2 * 3


def test_opposite_borders_are_no_neighbours():
    table = neighbour_table(np.array([[0, 0, 0], [0, 0, 3], [0, 3, 0], [3, 0, 0]]), 4)
    assert (table > 0).sum() == 4


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ([[0, 0, 0], [1, 2, 3], [0, 0, 0]], r"\[0, 0, 0\] is given more than once"),
        ([[0, 0, 4]], r"\[0, 0, 4\] is outside the grid: coordinates must be from 0 to 3"),
        ([[0, -1, 0]], r"\[0, -1, 0\] is outside the grid"),
        (np.zeros((0, 3), int), "there are no voxels"),
        ([[0.5, 0, 0]], r"must be an \(N, 3\) array of integers, not \(1, 3\) float64"),
        ([[0, 0, 0, 0]], r"must be an \(N, 3\) array of integers, not \(1, 4\) int64"),
    ],
)
def test_unusable_voxels_are_an_error(coords, message):
    with pytest.raises(VoxelError, match=message):
        neighbour_table(np.array(coords), 4)
