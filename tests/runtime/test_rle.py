"""Run lengths as pycocotools writes them."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sam_tvm.runtime.rle import compress_counts, encode_mask, run_lengths


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    stripes = np.zeros((40, 3), bool)
    stripes[::2] = True
    blob = np.hypot(*np.mgrid[-200:200, -300:300]) < 150
    return {
        "empty": np.zeros((5, 7), bool),
        "full": np.ones((5, 7), bool),
        "one pixel": np.ones((1, 1), bool),
        "first pixel": np.arange(12).reshape(3, 4) == 0,
        "last pixel": np.arange(12).reshape(3, 4) == 11,
        "noise": rng.random((37, 53)) < 0.5,
        "rare noise": rng.random((200, 300)) < 0.01,
        "stripes": stripes,
        "blob": blob,
        "long runs": np.arange(3000 * 2000).reshape(3000, 2000) > 4_000_000,
    }


@pytest.mark.parametrize("name", masks())
def test_a_mask_is_encoded_as_pycocotools_does(name):
    mask = masks()[name]
    ours = encode_mask(mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(coco_mask.decode(json.loads(json.dumps(ours))), mask)


def test_runs_go_down_the_columns_and_begin_outside():
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert run_lengths(mask).tolist() == [0, 2, 1, 1, 2]


def test_differences_of_either_sign_and_any_length_are_read_back():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 2**25, 501)
    counts[::3] = rng.integers(1, 20, len(counts[::3]))
    counts = np.concatenate([counts, [1, 2**25, 1]]) * 4 // 4
    total = int(counts.sum())
    read = coco_mask.area({"size": [1, total], "counts": compress_counts(counts).encode()})
    assert int(read) == counts[1::2].sum() % 2**32
