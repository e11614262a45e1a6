"""Weights in panels: matrix products with a weight read it in the order of the kernel's tiles.

`matmul(x, w)`, where `w` depends on parameters alone, becomes a packing of `w` and a product that
reads the panels (`panels.py`). The packing depends on parameters alone too, so it runs once, when
the model is built.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph import panels as layout
from sam_tvm.kernels.graph.operators import (
    BINARY,
    CALL_TIR,
    NORM,
    PERMUTE,
    RESHAPES,
    UNARY,
    operator_name,
)
from sam_tvm.kernels.graph.panels import Panels
from sam_tvm.kernels.graph.parameters import (
    is_product_with,
    parameter_values,
)
from sam_tvm.kernels.graph.quantisation import quantise
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Rewriter, parameter_rewriting_pass

# Below this many columns most of a panel would be padding; the default rule takes the product.
_FEWEST_COLUMNS = 16
_FEWEST_ROWS = 16
_ROUNDED_TOGETHER = 32  # bfloat16 in a cache line
# What FuseOps lets rounding join a product, a norm or a permutation through.
_JOINED = BINARY | UNARY | RESHAPES
_MOVES = RESHAPES | {PERMUTE}


def pack_weights(panels: Panels) -> tvm.ir.transform.Pass:
    """A pass that packs the weights of all matrix products.

    It looks at the Relax functions that say in `num_input` after how many inputs their parameters
    begin, and adds packings and products as TIR functions to the module.

    Args:
        panels: how the target's kernels want their weights; of int8 ones the product is scaled.
    """
    return parameter_rewriting_pass("SamTvmPackWeights", lambda module: _Packer(module, panels))


def is_worth_packing(call: relax.Expr | None, weights: set[relax.Var]) -> bool:
    """Tell whether a value is a product with one of these weights that is worth packing."""
    if not is_product_with(call, weights):
        return False
    rows, columns = (int(extent) for extent in call.args[1].ty.shape)
    return rows >= _FEWEST_ROWS and columns >= _FEWEST_COLUMNS


def can_be_rounded_ahead(x: relax.Expr) -> bool:
    """Tell whether a product can read a left operand as bfloat16.

    Its rows must be whole words of a cache line, as no more is copied of them.
    """
    length = constant_value(x.ty.shape[-1])
    return length is not None and length % _ROUNDED_TOGETHER == 0


@mutator
class _Packer(Rewriter):
    def __init__(self, module: tvm.IRModule, panels: Panels) -> None:
        super().__init__(module)
        self.module, self.panels = module, panels
        self.weights: set[relax.Var] = set()

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look at the function before it is rewritten."""
        self.weights, self.readers = set(parameter_values(function)), Readers(function)
        return super().visit_function_(function)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        """Rewrite one call, if it multiplies by a weight that is worth packing."""
        if not self._is_worth_packing(call):
            return super().visit_call_(call)
        self.changed = True
        x, weight = call.args
        x = self._rounded(x) if self.panels.bfloat16 else self.visit_expr(x)
        weight = self.visit_expr(weight)
        columns = int(call.args[1].ty.shape[1])
        if not self.panels.int8:
            packed = layout.pack(self.builder_, weight, self.panels)
            return layout.matmul(self.builder_, x, packed, columns, self.panels)
        rounded, scale = quantise(self.builder_, weight)
        packed = layout.pack(self.builder_, rounded, self.panels)
        sums = layout.matmul(self.builder_, x, packed, columns, self.panels)
        return self.builder_.emit(relax.op.multiply(sums, scale))

    def _rounded(self, x: relax.Expr) -> relax.Expr:
        """Return a left operand rounded ahead if it is already, or that joins its maker.

        What a norm made is rounded before it is moved about, and not behind: half as much moves.
        """
        readers, moves, made = self.readers, [], x
        while operator_name(move := readers.value_read_once(made)) in _MOVES:
            moves.append(move)
            made = move.args[0]
        narrow = self._before_widening(made)
        if narrow is not None:
            result = self.visit_expr(narrow)
        elif not self._joins_its_maker(x):
            return self.visit_expr(x)
        elif operator_name(readers.value_read_once(made)) != NORM:
            return layout.round_operand(self.builder_, self.visit_expr(x))
        else:
            result = layout.round_operand(self.builder_, self.visit_expr(made))
        for move in reversed(moves):
            others = [self.visit_expr(argument) for argument in move.args[1:]]
            moved = relax.Call(move.op, [result, *others], move.attrs)
            result = self.builder_.emit(moved)
        return result

    def _before_widening(self, x: relax.Expr) -> relax.Expr | None:
        """Return the bfloat16 that a value is, None if it is anything else."""
        call = self.readers.values.get(x)
        if operator_name(call) != CALL_TIR:
            return None
        widens = layout.WIDENS in (self.module[call.args[0]].attrs or {})
        return call.args[1].fields[0] if widens else None

    def _joins_its_maker(self, x: relax.Expr) -> bool:
        """Tell whether rounding `x` joins what computes it: a product, a norm or a move."""
        if not can_be_rounded_ahead(x):
            return False
        while (value := self.readers.value_read_once(x)) is not None:
            name = operator_name(value)
            if name in (PERMUTE, NORM) or self._is_worth_packing(value):
                return True
            if name not in _JOINED:
                return False
            x = value.args[0]
        return False

    def _is_worth_packing(self, call: relax.Expr | None) -> bool:
        return is_worth_packing(call, self.weights)
