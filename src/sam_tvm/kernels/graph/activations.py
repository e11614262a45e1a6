"""Products of two activations: which of them is read across, and in which precision.

`matmul(a, permute(x))` reads `x` where it lies: the kernel copies it in tiles (`x_copies.py`),
turns around rows that are compared with rows, and nobody stores them the other way round. In
bfloat16 both operands are rounded as the kernel copies them. Products with a weight are
`packing.py`'s. Matrix tiles have their own way with both, if the number of rows is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, te
from tvm.ir import Expr, Var
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.bfloat16 import dot_pair, join_pair
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.movement import same_shape, shape_of
from sam_tvm.kernels.graph.operators import MATMUL, PERMUTE, operator_name, permutation
from sam_tvm.kernels.graph.panels import FUSES_ELEMENTWISE, Panels
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

_LANES = 16  # columns that are paired at once
_FEWEST_ROWS = 8  # of `a`; fewer are not worth a copy of `x`


def place(panels: Panels) -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin.

    Args:
        panels: how the target's kernels want their weights, and in which precision they multiply.
    """
    return parameter_rewriting_pass(
        "SamTvmPlaceActivations", lambda module: _Rewriter(module, panels)
    )


@dataclass(frozen=True)
class _Product:
    """A product of (..., M, K) by (..., K, N).

    Attributes:
        a: (..., M, K).
        x: what is permuted to (..., K, N).
        axes: the permutation.

    """

    a: relax.Expr
    x: relax.Expr
    axes: tuple[int, ...]

    @property
    def operand(self) -> tuple[Expr, ...]:
        """The shape (..., K, N)."""
        return tuple(shape_of(self.x)[axis] for axis in self.axes)

    @property
    def is_permuted(self) -> bool:
        """Whether x is not that operand itself."""
        return self.axes != tuple(range(len(self.axes)))

    @property
    def across(self) -> bool:
        """Whether it lies along K in memory."""
        return self.axes[-2] == len(self.axes) - 1

    @property
    def is_regular(self) -> bool:
        """Whether matrices belong together one to one, and there are enough rows and terms."""
        (*outer, rows, terms), (*others, _, _) = shape_of(self.a), self.operand
        few = constant_value(rows) is not None and constant_value(rows) < _FEWEST_ROWS
        return same_shape(tuple(outer), tuple(others)) and not few and _is_long(terms, _LANES)

    @property
    def fills_pairs(self) -> bool:
        """Whether a kernel can copy both as pairs of bfloat16."""
        terms, columns = self.operand[-2:]
        if constant_value(terms) is None or constant_value(terms) % 2:
            return False
        return _is_long(terms, 2 * _LANES) if self.across else _is_long(columns, _LANES)


@mutator
class _Rewriter(Rewriter):
    def __init__(self, module: tvm.IRModule, panels: Panels) -> None:
        super().__init__(module)
        self.panels = panels
        self.parameters: set[relax.Var] = set()

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look for parameters first."""
        self.parameters = set(parameter_values(function))
        return super().visit_function_(function)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it is such a product."""
        is_product = operator_name(call) == MATMUL and all(map(_is_matrix, call.args))
        if not is_product or any(arg in self.parameters for arg in call.args):
            return super().visit_call_(call)
        call = super().visit_call_(call)
        product = self._product(*call.args)
        if self.panels.tiles and constant_value(shape_of(product.a)[-2]) is not None:
            return call
        pairs = self.panels.bfloat16 and product.is_regular and product.fills_pairs
        if not product.is_regular or not (pairs or product.is_permuted):
            return call
        self.changed = True
        return _emit(self.builder_, product, pairs)

    def _product(self, a: relax.Expr, x: relax.Expr) -> _Product:
        turned, rank = self.value(x), len(shape_of(x))
        if operator_name(turned) == PERMUTE:
            axes = tuple(permutation(turned))
            if rank - 1 in axes[-2:]:
                return _Product(a, turned.args[0], axes)
        return _Product(a, x, tuple(range(rank)))


def _emit(builder: relax.BlockBuilder, product: _Product, pairs: bool) -> relax.Call:
    """Return the call of a function that the contraction rule gives its loops."""

    def compute(a: te.Tensor, x: te.Tensor) -> te.Tensor:
        *outer, rows, terms = a.shape
        columns = product.operand[-1]
        k = te.reduce_axis((0, terms // 2 if pairs else terms), "k")

        def cell(*point: Var) -> Expr:
            *at, row, column = point

            def y_(term: Expr) -> Expr:
                return a(*at, row, term)

            def x_(term: Expr) -> Expr:
                operand = (*at, term, column)
                return x(*(operand[product.axes.index(axis)] for axis in range(len(operand))))

            if not pairs:
                return te.sum(y_(k) * x_(k), axis=k)
            even, odd = 2 * k, 2 * k + 1
            return te.sum(dot_pair(y_(even), y_(odd), join_pair(x_(even), x_(odd))), axis=k)

        return te.compute((*outer, rows, columns), cell, name="matmul")

    return builder.call_te(
        compute,
        product.a,
        product.x,
        primfunc_name_hint="matmul_rows" if product.across else "matmul_columns",
        primfunc_attrs=FUSES_ELEMENTWISE,
    )


def _is_matrix(value: relax.Expr) -> bool:
    """Tell whether a value is of float32, of known shape, and has rows."""
    kind = value.ty
    if not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
        return False
    return str(kind.dtype) == "float32" and len(kind.shape) >= 2


def _is_long(extent: Expr, least: int) -> bool:
    known = constant_value(extent)
    return known is not None and known >= least
