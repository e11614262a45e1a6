"""Loops for GPUs: TVM's own schedules, each checked, and one thread an element where none fits."""

from sam_tvm.kernels.gpu.narrow import narrow_types
from sam_tvm.kernels.gpu.precision import float16_products
from sam_tvm.kernels.gpu.schedule import passes

__all__ = ["float16_products", "narrow_types", "passes"]
