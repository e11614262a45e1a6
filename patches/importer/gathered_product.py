"""`sam_tvm::gathered_product`, our operator for sparse convolutions: a call that a kernel replaces.

`kernels.gathered` makes a kernel of the call, or writes it out for TVM's own pipeline.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from tvm import relax

from sam_tvm.patches.importer.arguments import arguments, result_dtype
from sam_tvm.patches.packed_functions import GATHERED_PRODUCT
from sam_tvm.patches.patch import Patch


def gathered_product(node: fx.Node, importer: Any) -> relax.Expr:
    """Return the call, its arguments in the operator's order, `start` last if there is one."""
    args = arguments(node, importer)
    tensors = [value for value in args.values() if value is not None]
    rows, groups = args["table"].ty.shape[0], args["columns"].ty.shape[0]
    columns = args["weight"].ty.shape[3]
    result = relax.TensorType((rows * groups, columns), result_dtype(node))
    return importer.block_builder.emit(relax.op.call_dps_packed(GATHERED_PRODUCT, tensors, result))


PATCH = Patch(
    name="gathered_product",
    symptom="Unsupported function types ['gathered_product.default']",
    versions={"apache-tvm": "0.27.0.post1"},
    upstream=None,
    apply={"gathered_product.default": gathered_product},
)
