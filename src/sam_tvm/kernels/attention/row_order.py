"""A pass: the products beside attention keep the order of their rows, and attention has windows.

Windows permute the rows of an activation before the product that makes queries, keys and values,
and permute them back behind the product that reads attention's result. A product does not mind in
which order its rows come; attention reads and writes through strides (`graph/views.py`). So the
first permutation moves behind its product, the second before its own, and both disappear in the
kernel: nothing is copied, and what is added to the second product, a residual, joins it.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.attention.chains import Chain, chains
from sam_tvm.kernels.attention.operands import is_supported
from sam_tvm.kernels.graph.movement import (
    Layouts,
    Moved,
    Permute,
    Reshape,
    Step,
    keeps_rows,
    shape_of,
)
from sam_tvm.kernels.graph.operators import (
    CALL_TIR,
    PERMUTE,
    is_rearrangement,
    operator_name,
    permutation,
)
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.rewriting import Replacer, parameter_rewriting_pass
from sam_tvm.kernels.graph.views import has_shape

_OPERANDS = 3  # queries, keys and values; a bias is read in another way


def keep_row_order() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmKeepRowOrder", _Rewriter)


@dataclass(frozen=True)
class _Site:
    """A product whose rows another order suits.

    Attributes:
        chain: it, and what follows it row by row.
        moved: how its rows are moved before it or behind it.
        is_before: which of the two.

    """

    chain: Chain
    moved: Moved
    is_before: bool


@mutator
class _Rewriter(Replacer):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.module = module
        self.layouts = Layouts(self.builder_)
        self.parameters: set[relax.Var] = set()

    def find(self, function: relax.Function) -> dict[relax.Var, _Site]:
        """Return such products by the last value that is rewritten."""
        readers = Readers(function)
        self.parameters = set(parameter_values(function))
        found = {}
        for chain in chains(readers, self.parameters, self.module):
            if not chain.has_known_rows:
                continue
            source = _movement_before(chain, readers)
            if source is not None:
                found[chain.result] = _Site(chain, source, True)
                continue
            target = _movement_behind(chain, readers)
            if target is not None:
                var, moved = target
                found[var] = _Site(chain, moved, False)
        return found

    def replacement(self, _value: relax.Expr, found: _Site) -> relax.Expr:
        """Return the product in the other order of rows."""
        permuted = self._permuted_behind if found.is_before else self._permuted_before
        return permuted(found.chain, found.moved)

    def _permuted_behind(self, chain: Chain, moved: Moved) -> relax.Expr:
        """Emit a product of the rows as they lie, in the shape that it had, and move its result."""
        base = self.visit_expr(moved.base)
        shape = shape_of(base)[:-1]
        x = self.layouts.lay_out(Moved(base).reshaped(shape_of(chain.product.args[0])))
        for call in chain.calls:
            x = self._again(call, x, moved.steps)
        result = Moved(x).reshaped((*shape, shape_of(x)[-1]))
        return self.layouts.lay_out(result.followed(moved.with_rows(x).steps))

    def _permuted_before(self, chain: Chain, moved: Moved) -> relax.Expr:
        """Emit a product of moved rows."""
        x = self.layouts.lay_out(moved.with_rows(self.visit_expr(chain.product.args[0])))
        for call in chain.calls:
            x = self._again(call, x, ())
        return x

    def _again(self, call: relax.Call, x: relax.Expr, steps: tuple[Step, ...]) -> relax.Expr:
        """Emit one step of a chain, reading `x`; `steps` is how its rows had been moved."""
        if operator_name(call) != CALL_TIR:
            arguments = [self.visit_expr(a) if a in self.parameters else x for a in call.args]
            return self.builder_.emit(relax.Call(call.op, arguments, call.attrs))
        table = self.visit_expr(call.args[1].fields[1])
        steps = Moved(x, steps).with_rows(table).steps
        pulled = self.layouts.pull(table, steps, len(shape_of(table)))
        table = self.layouts.lay_out(Moved(pulled).reshaped(shape_of(table)))
        kernel = call.args[0]
        return self.builder_.emit(relax.call_tir(kernel, [x, table], call.ty_args[0]))


def _movement_before(chain: Chain, readers: Readers) -> Moved | None:
    """Return how a product's rows were moved, if attention alone reads its result."""
    steps: list[Step] = []
    var = chain.product.args[0]
    while (step := _step(readers.values.get(var))) is not None:
        steps.insert(0, step)
        var = readers.values[var].args[0]
    for read, reader in readers.ends(chain.result):
        call = None if reader is None else readers.values[reader]
        if not is_supported(call) or any(a.same_as(read) for a in call.args[_OPERANDS:]):
            return None
    moved = Moved(var).followed(steps)
    return moved if _permutes(moved) else None


def _movement_behind(chain: Chain, readers: Readers) -> tuple[relax.Var, Moved] | None:
    """Return where the rows of a product of attention's result end, and how they were moved."""
    var = chain.product.args[0]
    while is_rearrangement(value := readers.value_read_once(var)):
        var = value.args[0]
    if not is_supported(value) or chain.is_turned:
        return None
    steps: list[Step] = []
    end = chain.result
    while (after := readers.only(end)) is not None:
        step = _step(readers.values[after])
        if step is None:
            break
        steps.append(step)
        end = after
    moved = Moved(chain.result).followed(steps)
    return (end, moved) if _permutes(moved) else None


def _step(call: relax.Expr | None) -> Step | None:
    """Return how an operator moves whole rows, None if it does anything else."""
    if not is_rearrangement(call) or not has_shape(call.args[0]):
        return None
    if operator_name(call) == PERMUTE:
        step: Step = Permute(tuple(permutation(call)))
    else:
        step = Reshape(shape_of(call.args[0]), tuple(call.ty.shape))
    return step if keeps_rows([step]) else None


def _permutes(moved: Moved) -> bool:
    return any(isinstance(step, Permute) for step in moved.steps)
