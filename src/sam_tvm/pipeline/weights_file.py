"""Writing safetensors whose large tensors start at multiples of 64 bytes.

The format (https://huggingface.co/docs/safetensors) allows no gaps between tensors, so the header
is padded and tensors whose size is a multiple of 64 come first: those, all the large ones, can be
used straight from the mapped file. The library's own writer sorts by type and name instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ALIGNMENT = 64

DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "uint32": "U32",
    "uint8": "U8",
    "int8": "I8",
    "bool": "BOOL",
}


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write `tensors` to `path` (which the caller renames into place).

    Raises:
        ValueError: for an element type that the format or the runtime does not know.
    """
    names = sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGNMENT != 0, name))
    header: dict[str, object] = {}
    offset = 0
    for name in names:
        array = tensors[name]
        if array.dtype.name not in DTYPES:
            raise ValueError(f"{name}: cannot store element type {array.dtype.name}")
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            stream.write(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
