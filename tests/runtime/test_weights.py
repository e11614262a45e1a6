"""Weights straight from the mapped file."""

from pathlib import Path

import numpy as np
import pytest

from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.weights import map_weights


def _mapped_ranges(path: Path) -> list[tuple[int, int]]:
    """Address ranges at which this process maps a file."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(str(path))]
    return [(int(low, 16), int(high, 16)) for low, high in ranges]


def test_aligned_tensors_share_the_memory_of_the_file(affine_bundle, affine_weights):
    path = (affine_bundle / "weights.safetensors").resolve()
    tensors = map_weights(path)
    for name, expected in zip(("layer.weight", "layer.bias"), affine_weights, strict=True):
        view = np.from_dlpack(tensors[name])
        np.testing.assert_array_equal(view, expected)
        assert any(low <= view.ctypes.data < high for low, high in _mapped_ranges(path))


def test_tensors_keep_the_file_mapped(affine_bundle, affine_weights):
    tensor = map_weights(affine_bundle / "weights.safetensors")["layer.weight"]
    (affine_bundle / "weights.safetensors").unlink()
    np.testing.assert_array_equal(tensor.numpy(), affine_weights[0])


def test_unaligned_tensors_are_copied(tmp_path):
    header = (
        b'{"__metadata__":{"a":"b"},"flag":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},'
        b'"x":{"dtype":"I64","shape":[2,1],"data_offsets":[1,17]},'
        b'"none":{"dtype":"F32","shape":[0,3],"data_offsets":[17,17]}}'
    )
    values = np.array([[5], [-6]], np.int64)
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1" + values.tobytes())
    tensors = map_weights(path)
    np.testing.assert_array_equal(tensors["x"].numpy(), values)
    np.testing.assert_array_equal(tensors["flag"].numpy(), [True])
    assert tensors["none"].shape == (0, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"12",
        b"\xff" * 8,
        b"\2\0\0\0\0\0\0\0[]",
        b"\3\0\0\0\0\0\0\0{no",
        b'\x32\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}',
        b'\x31\0\0\0\0\0\0\0{"x":{"dtype":"F9","shape":[9],"data_offsets":[0,36]}}' + b"0" * 36,
    ],
)
def test_damaged_files_are_refused(tmp_path, data):
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="safetensors"):
        map_weights(path)
