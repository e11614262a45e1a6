"""A Relax pass: `grid_sample` and `roi_align` become calls of generated kernels.

What moves the picture about before them disappears if its channels lie side by side somewhere:
kernels read it there. Results have channels last.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, sym, tirx
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.operators import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, operator_name
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass
from sam_tvm.kernels.graph.sizes import OwnSizes
from sam_tvm.kernels.graph.views import View, has_shape, has_vectors, shape_of, trace, whole
from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.sampling import points, regions
from sam_tvm.kernels.sampling.picture import Picture
from sam_tvm.kernels.sampling.regions import Regions
from sam_tvm.kernels.target_features import VectorUnit, vector_unit

_POINTS, _REGIONS = "relax.image.grid_sample", "relax.vision.roi_align"


def place(target: tvm.target.Target | str) -> tvm.ir.transform.Pass:
    """Return a pass that replaces every such operator by a call of a kernel made for it.

    It is one over float32 pictures (N, C, H, W) of known channels: bilinear samples at points, not
    with aligned corners and with zeros outside, or means of boxes that are not aligned. Others are
    left alone.

    Args:
        target: an LLVM target.
    """
    unit = vector_unit(tvm.target.Target(target))
    return parameter_rewriting_pass("SamTvmPlaceSampling", lambda module: _Placer(module, unit))


@dataclass(frozen=True)
class _Found:
    """Where the picture is read: a view with channels last, None if it must be turned around."""

    view: View | None


@mutator
class _Placer(Replacer):
    def __init__(self, module: tvm.IRModule, unit: VectorUnit) -> None:
        super().__init__(module)
        self._unit, self._analyzer = unit, sym.Analyzer()
        self._kernels: dict[str, tvm.ir.GlobalVar] = {}

    def find(self, function: relax.Function) -> dict[relax.Var, _Found]:
        """Return the operators that have kernels."""
        values = Readers(function).values
        found = {}
        for var, value in values.items():
            if _is_supported(value):
                views = trace(value.args[0], values, self._analyzer)
                views = [view.permuted(TO_CHANNELS_LAST) for view in views]
                vectors = [view for view in views if has_vectors(view)]
                found[var] = _Found(vectors[-1] if vectors else None)
        return found

    def replacement(self, value: relax.Call, found: _Found) -> relax.Expr:
        """Return the call, its result with channels first again."""
        _, channels, height, width = shape_of(value.args[0])
        places = self.visit_expr(value.args[1])
        if found.view is None:
            x = relax.op.permute_dims(self.visit_expr(value.args[0]), TO_CHANNELS_LAST)
            view = whole(self.builder_.emit(x))
        else:
            view = found.view
        base = self.visit_expr(view.base)
        operand = Operand(0, view.offset, view.axes).map(self._analyzer.simplify)
        count, _, *bins = shape_of(value)
        kind = relax.TensorType((count, *bins, channels), "float32")
        own = OwnSizes()
        picture = Picture(operand, height, width, constant_value(channels)).map(own)
        tensors = (shape_of(base), shape_of(places), kind.shape)
        shapes = [tuple(own(size) for size in shape) for shape in tensors]
        kernel = self._kernel(value, picture, shapes, own)
        call = relax.call_tir(kernel, [base, places, *own.values], kind)
        return relax.op.permute_dims(self.builder_.emit(call), TO_CHANNELS_FIRST)

    def _kernel(
        self, call: relax.Call, picture: Picture, shapes: list[tuple[tirx.Expr, ...]], own: OwnSizes
    ) -> tvm.ir.GlobalVar:
        """Return the kernel for a call; those of equal sizes share it."""
        wanted = _regions(call) if operator_name(call) == _REGIONS else None
        key = f"{wanted} {picture} {shapes}"
        if key not in self._kernels:
            if wanted is None:
                rule = points.RULE
                function = points.points_function(picture, shapes, own.variables, self._unit)
            else:
                rule, sizes = regions.RULE, own.variables
                function = regions.regions_function(wanted, picture, shapes, sizes, self._unit)
            self._kernels[key] = self.builder_.add_func(function, rule)
        return self._kernels[key]


def _regions(call: relax.Call) -> Regions:
    rows, columns = (int(bins) for bins in call.attrs.pooled_size)
    samples = max(int(call.attrs.sample_ratio), 0)
    return Regions(rows, columns, float(call.attrs.spatial_scale), samples)


def _is_supported(call: relax.Expr) -> bool:
    """Tell whether it is one of the two operators, as the kernels compute it."""
    name = operator_name(call)
    if name not in (_POINTS, _REGIONS) or call.attrs.layout != "NCHW":
        return False
    if not all(has_shape(tensor) and str(tensor.ty.dtype) == "float32" for tensor in call.args):
        return False
    if constant_value(shape_of(call.args[0])[1]) is None:
        return False
    attrs = call.attrs
    if name == _REGIONS:
        return attrs.mode == "avg" and not attrs.aligned
    modes = (attrs.method, attrs.padding_mode, bool(attrs.align_corners))
    return modes == ("bilinear", "zeros", False)
