"""Products and convolutions of float16 numbers with float32 sums; everything else stays float32.

TVM's ToMixedPrecision does not take operators with scalar arguments, which the models have
(`Expected TensorType, but got T.float64`).
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam_tvm.kernels.graph.rewriting import rewriting_pass

_nn = relax.op.nn
_MATMUL = "relax.matmul"
_CONVOLUTIONS = {
    f"relax.nn.{function.__name__}": function
    for function in (_nn.conv2d, _nn.conv2d_transpose, _nn.conv3d)
}
_ATTRIBUTES = ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout")


def float16_products() -> tvm.ir.transform.Pass:
    """Return a pass that rounds both factors of each product and convolution to float16.

    A weight depends on parameters alone and is rounded once, when the model is built.
    """
    return rewriting_pass("SamTvmFloat16Products", _Writer)


@mutator
class _Writer(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it multiplies float32 tensors."""
        name = call.op.name if isinstance(call.op, tvm.ir.Op) else ""
        if name != _MATMUL and name not in _CONVOLUTIONS:
            return super().visit_call_(call)
        if any(str(argument.ty.dtype) != "float32" for argument in call.args):
            return super().visit_call_(call)
        x, y = (
            self.builder_.emit(relax.op.astype(self.visit_expr(argument), "float16"))
            for argument in call.args
        )
        if name == _MATMUL:
            return relax.op.matmul(x, y, out_dtype="float32")
        attributes = {key: getattr(call.attrs, key) for key in _ATTRIBUTES}
        if hasattr(call.attrs, "output_padding"):
            attributes["output_padding"] = call.attrs.output_padding
        layout = call.attrs.out_layout or None
        convolve = _CONVOLUTIONS[name]
        return convolve(x, y, **attributes, out_layout=layout, out_dtype="float32")
