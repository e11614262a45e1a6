"""Sums of very few terms, written out: an element-wise expression instead of a loop to add up in.

A product with a matrix of two rows, as an embedding of coordinates begins with, then joins what
follows it, and its result is stored once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from itertools import product
from operator import add

from tvm import tirx

from sam_tvm.kernels.expressions import constant_value, integer, size, substitute
from sam_tvm.kernels.products.panel_form import find_panels
from sam_tvm.kernels.program import Program, Stage, contraction_operands

_MOST_TERMS = 4
_LARGEST_TERM = 40  # nodes


def unroll_short_sums(program: Program) -> None:
    """Replace each sum of at most `_MOST_TERMS` small terms by the expression of its result.

    Products with packed weights stay: their kernel reads the panels.
    """
    program.stages = [
        _unrolled(stage) if _is_short(program, stage) else stage for stage in program.stages
    ]


def _is_short(program: Program, stage: Stage) -> bool:
    if stage.reduction is None or stage.reduction.operators != ("add",):
        return False
    if not all(isinstance(i, tirx.FloatImm | tirx.IntImm) and i.value == 0 for i in stage.inits):
        return False
    extents = [constant_value(axis.extent) for axis in stage.reduced]
    if None in extents or math.prod(extents) > _MOST_TERMS:
        return False
    if size(stage.reduction.terms[0]) > _LARGEST_TERM:
        return False
    operands = contraction_operands(stage)
    return operands is None or find_panels(stage, operands, program.analyzer) is None


def _unrolled(stage: Stage) -> Stage:
    (term,) = stage.reduction.terms
    steps = [range(constant_value(axis.extent)) for axis in stage.reduced]
    points = [
        {
            axis.var: integer(step, axis.extent)
            for axis, step in zip(stage.reduced, point, strict=True)
        }
        for point in product(*steps)
    ]
    total = reduce(add, (substitute(term, point) for point in points))
    return replace(stage, axes=stage.spatial, values=(total,), inits=None, reduction=None)
