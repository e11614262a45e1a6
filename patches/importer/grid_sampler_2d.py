"""`grid_sampler_2d`: bilinear samples at given points.

TVM's operator wants the grid as (N, 2, H, W), torch has it as (N, H, W, 2), and the importer hands
it on unchanged.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments
from sam_tvm.patches.patch import Patch

_METHODS = ("bilinear", "nearest", "bicubic")
_PADDING_MODES = ("zeros", "border", "reflection")


def grid_sampler_2d(node: fx.Node, importer: Any) -> relax.Expr:
    """Move the grid's coordinates to the axis where TVM looks for them."""
    args = arguments(node, importer)
    emit = importer.block_builder.emit
    return emit(
        relax.op.image.grid_sample(
            args["input"],
            emit(relax.op.permute_dims(args["grid"], [0, 3, 1, 2])),
            method=_METHODS[args["interpolation_mode"]],
            layout="NCHW",
            padding_mode=_PADDING_MODES[args["padding_mode"]],
            align_corners=args["align_corners"],
        )
    )


PATCH = Patch(
    name="grid_sampler_2d",
    symptom="silent: a grid of (N, 4, 1, 2) gives an image of (N, C, 1, 2)",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"grid_sampler_2d.default": grid_sampler_2d},
)
