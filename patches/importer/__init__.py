"""Converters for what TVM 0.27's torch frontend lacks or gets wrong.

A converter is called as `converter(node, importer)`, with an FX node and TVM's importer, and
returns the Relax expression of the node's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam_tvm.patches.importer import (
    cat,
    div,
    equality,
    gathered_product,
    grid_sampler_2d,
    native_group_norm,
    prod,
    repeat,
    scaled_dot_product_attention,
    select,
    windowed_attention,
)
from sam_tvm.patches.importer.unsupported import patch_file, unsupported_operators

if TYPE_CHECKING:
    from sam_tvm.patches.patch import Converter, Patch

__all__ = ["PATCHES", "converters", "patch_file", "unsupported_operators"]

PATCHES: tuple[Patch, ...] = (
    cat.PATCH,
    div.PATCH,
    equality.PATCH,
    gathered_product.PATCH,
    grid_sampler_2d.PATCH,
    native_group_norm.PATCH,
    prod.PATCH,
    repeat.PATCH,
    scaled_dot_product_attention.PATCH,
    select.PATCH,
    windowed_attention.PATCH,
)


def converters() -> dict[str, Converter]:
    """Return all converters by operator, for `from_exported_program(custom_convert_map=...)`."""
    return {name: function for patch in PATCHES for name, function in patch.apply.items()}
