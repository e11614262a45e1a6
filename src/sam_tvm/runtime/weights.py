"""Weights from a safetensors file, memory-mapped: they are read when used and never copied.

The `safetensors` package copies each tensor when it reads into numpy; the format is simple enough
(a length, a JSON header, the data) to be mapped directly.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from sam_tvm.runtime.errors import BundleError

ALIGNMENT = 64  # bytes; what TVM asks of memory that it does not own

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "BOOL": np.dtype(np.bool_),
}


def map_weights(
    path: Path, offset: int = 0, size: int | None = None
) -> dict[str, tvm.runtime.Tensor]:
    """Map the tensors of a safetensors file.

    Tensors that start at a multiple of 64 bytes share the file's memory; others are copied.

    Args:
        path: the file, or an archive that it lies in.
        offset: where it begins there, bytes.
        size: of the file; None: up to the end.

    Returns:
        Tensors by name, on the CPU. They keep the mapping alive.

    Raises:
        BundleError: the header is damaged, or a tensor lies outside the file.

    """
    try:
        # Copy on write, because DLPack cannot express read-only memory; nothing is ever written.
        data = np.memmap(path, np.uint8, mode="c", offset=offset, shape=size)
        length = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        return {name: _tensor(data, 8 + length, entry) for name, entry in header.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is no valid safetensors file: {error}") from error


def _tensor(data: np.ndarray, base: int, entry: dict[str, Any]) -> tvm.runtime.Tensor:
    dtype = _DTYPES[entry["dtype"]]
    start, end = (base + offset for offset in entry["data_offsets"])
    shape = tuple(entry["shape"])
    if end > data.size or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"a tensor of shape {shape} does not fit bytes {start} to {end}")
    flat = np.asarray(data[start:end])
    if flat.ctypes.data % ALIGNMENT or not flat.size:
        return tvm.runtime.tensor(np.frombuffer(flat.tobytes(), dtype).reshape(shape))
    return tvm.runtime.from_dlpack(flat.view(dtype).reshape(shape))
