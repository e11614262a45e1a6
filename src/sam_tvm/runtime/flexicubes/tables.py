"""Dual marching cubes' case tables, which a bundle holds as a file.

They are the reference's own (`flexicubes/tables.py`, by NVIDIA, Apache-2.0): taken from the
installed package when a bundle is made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_bytes
from safetensors.numpy import load_file, save_file

from sam_tvm.runtime.errors import BundleError


@dataclass(frozen=True)
class CaseTables:
    """What a cube contributes to the mesh, by its case: bit c is set if corner c is inside.

    Attributes:
        dmc_table: (256, 4, 7) int8, edges around each of the case's vertices, then -1.
        num_vd_table: (256,) int8, how many vertices a case has.
        check_table: (256, 5) int16: whether the case has an ambiguous face; the step (x, y, z) to
            the cube behind it; the case to take instead if that cube has one too.

    """

    dmc_table: np.ndarray
    num_vd_table: np.ndarray
    check_table: np.ndarray


_FORMS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "dmc_table": (np.int8, (256, 4, 7)),
    "num_vd_table": (np.int8, (256,)),
    "check_table": (np.int16, (256, 5)),
}


def save(path: str | Path, reference: Any) -> None:
    """Write the tables of the reference to a safetensors file.

    Args:
        path: the file.
        reference: the module `sam3d_objects.model.backbone.tdfy_dit.representations.mesh.
            flexicubes.tables`, or anything with its `dmc_table`, `num_vd_table`, `check_table`.

    Raises:
        ValueError: a table of another shape or with values beyond its type.

    """
    tables = {}
    for name, (dtype, shape) in _FORMS.items():
        wide = np.asarray(getattr(reference, name))
        tables[name] = wide.astype(dtype)
        if wide.shape != shape or not np.array_equal(tables[name], wide):
            raise ValueError(f"{name} is not a table of shape {shape} that fits {dtype.__name__}")
    save_file(tables, path)


def load(source: str | Path | bytes) -> CaseTables:
    """Read the tables that `save` wrote, from the file or from what it holds.

    Raises:
        BundleError: the file is missing, damaged or not one of `save`'s.

    """
    name_of = "the bundle" if isinstance(source, bytes) else str(source)
    try:
        tables = load_bytes(source) if isinstance(source, bytes) else load_file(source)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{name_of}: the mesh tables cannot be read ({error})") from error
    for name, (dtype, shape) in _FORMS.items():
        table = tables.get(name)
        if table is None or table.dtype != dtype or table.shape != shape:
            raise BundleError(f"{name_of} holds no mesh tables ({name} is missing or altered)")
    return CaseTables(**{field.name: tables[field.name] for field in fields(CaseTables)})
