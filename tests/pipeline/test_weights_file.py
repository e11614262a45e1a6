import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from sam_tvm.pipeline.weights_file import ALIGNMENT, write_safetensors


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        "one": np.float32([1.5]),
        "weight": rng.standard_normal((64, 48), dtype=np.float32),
        "scalar": np.float32(3.25).reshape(()),
        "mask": np.array([True, False, True]),
        "table": rng.integers(0, 9, (16, 8)),
        "strided": rng.standard_normal((32, 16), dtype=np.float32).T,
    }


def test_library_reads_what_was_written(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, tensors)
    loaded = load_file(path)
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        np.testing.assert_array_equal(loaded[name], tensor)


def test_tensors_of_whole_lines_start_at_multiples_of_64(tmp_path, tensors):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, tensors)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert (8 + length) % ALIGNMENT == 0
    aligned = {
        name for name, entry in header.items() if (8 + length + entry["data_offsets"][0]) % 64 == 0
    }
    assert {"weight", "table", "strided"} <= aligned


def test_unknown_element_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match="complex64"):
        write_safetensors(tmp_path / "w", {"freqs_cis": np.ones(2, np.complex64)})
