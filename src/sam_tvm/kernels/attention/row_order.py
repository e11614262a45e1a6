"""A pass: the products beside attention keep the order of their rows, and attention has windows.

Windows permute the rows of an activation before the product that makes queries, keys and values,
and permute them back behind the product that reads attention's result. A product does not mind in
which order its rows come; attention reads and writes through strides (`views.py`). So the first
permutation moves behind its product, the second before its own, and both disappear in the kernel:
nothing is copied, and what is added to the second product, a residual, joins it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from sam_tvm.kernels.attention.operands import OPERATORS, is_supported
from sam_tvm.kernels.attention.readers import Readers
from sam_tvm.kernels.attention.views import has_shape, is_rearrangement, name_of, permutation
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.movement import (
    Layouts,
    Moved,
    Permute,
    Reshape,
    Step,
    keeps_rows,
    shape_of,
)
from sam_tvm.kernels.neighbours import READS_NEIGHBOURS
from sam_tvm.kernels.parameters import parameter_values
from sam_tvm.kernels.rewriting import Rewriter, parameter_rewriting_pass

_OPERANDS = 3  # queries, keys and values; a bias is read in another way


def keep_row_order() -> tvm.ir.transform.Pass:
    """A pass over the Relax functions that say in `num_input` where their parameters begin."""
    return parameter_rewriting_pass("SamTvmKeepRowOrder", _Rewriter)


@dataclass(frozen=True)
class _Chain:
    """A product with a weight, and what is done to its result row by row.

    Attributes:
        x: what is multiplied.
        calls: the product, a bias perhaps, a rotation perhaps; each reads the one before first.
        result: the last one's variable.

    """

    x: relax.Var
    calls: tuple[relax.Call, ...]
    result: relax.Var


@mutator
class _Rewriter(Rewriter):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.module = module
        self.layouts = Layouts(self.builder_)
        self.before: dict[relax.Var, tuple[_Chain, Moved]] = {}
        self.behind: dict[relax.Var, tuple[_Chain, Moved]] = {}

    def visit_function_(self, function: relax.Function) -> relax.Function:
        """Look for products first."""
        readers = Readers(function)
        for chain in _chains(readers, set(parameter_values(function)), self.module):
            source = _movement_before(chain, readers)
            if source is not None:
                self.before[chain.result] = chain, source
                continue
            target = _movement_behind(chain, readers)
            if target is not None:
                var, moved = target
                self.behind[var] = chain, moved
        self.changed = bool(self.before or self.behind)
        return super().visit_function_(function)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        """Rewrite one binding, if it ends a product that another order suits."""
        if binding.var in self.before:
            result = self._permuted_behind(*self.before[binding.var])
        elif binding.var in self.behind:
            result = self._permuted_before(*self.behind[binding.var])
        else:
            super().visit_var_binding_(binding)
            return
        self.set_var_remap(binding.var, result)

    def _permuted_behind(self, chain: _Chain, moved: Moved) -> relax.Expr:
        """Emit a product of the rows as they lie, in the shape that it had, and move its result."""
        base = self.visit_expr(moved.base)
        shape = shape_of(base)[:-1]
        x = self.layouts.lay_out(Moved(base).reshaped(shape_of(chain.x)))
        for call in chain.calls:
            x = self._again(call, x, moved.steps)
        result = Moved(x).reshaped((*shape, shape_of(x)[-1]))
        return self.layouts.lay_out(result.followed(moved.with_rows(x).steps))

    def _permuted_before(self, chain: _Chain, moved: Moved) -> relax.Expr:
        """Emit a product of moved rows."""
        x = self.layouts.lay_out(moved.with_rows(self.visit_expr(chain.x)))
        for call in chain.calls:
            x = self._again(call, x, ())
        return x

    def _again(self, call: relax.Call, x: relax.Expr, steps: tuple[Step, ...]) -> relax.Expr:
        """Emit one step of a chain, reading `x`; `steps` is how its rows had been moved."""
        if name_of(call) != "relax.call_tir":
            others = [self.visit_expr(argument) for argument in call.args[1:]]
            return self.builder_.emit(relax.Call(call.op, [x, *others], call.attrs))
        table = self.visit_expr(call.args[1].fields[1])
        steps = Moved(x, steps).with_rows(table).steps
        pulled = self.layouts.pull(table, steps, len(shape_of(table)))
        table = self.layouts.lay_out(Moved(pulled).reshaped(shape_of(table)))
        kernel = call.args[0]
        return self.builder_.emit(relax.call_tir(kernel, [x, table], call.ty_args[0]))


def _chains(readers: Readers, parameters: set[relax.Var], module: tvm.IRModule) -> Iterator[_Chain]:
    """Return all chains of known sizes, as long as they go."""

    def follows(var: relax.Var) -> relax.Var | None:
        if len(readers.of(var)) != 1 or var in readers.results:
            return None
        (after,) = readers.of(var)
        call = readers.values[after]
        if name_of(call) == "relax.add":
            is_bias = call.args[1] in parameters and call.args[1].ty.ndim == 1
            return after if call.args[0].same_as(var) and is_bias else None
        if name_of(call) != "relax.call_tir":
            return None
        if READS_NEIGHBOURS not in (module[call.args[0]].attrs or {}):
            return None
        return after if call.args[1].fields[0].same_as(var) else None

    for var, call in readers.values.items():
        if name_of(call) != "relax.matmul" or call.args[1] not in parameters:
            continue
        if call.args[1].ty.ndim != 2 or None in map(constant_value, call.args[0].ty.shape):
            continue
        calls, result = [call], var
        while (after := follows(result)) is not None:
            calls.append(readers.values[after])
            result = after
        yield _Chain(call.args[0], tuple(calls), result)


def _movement_before(chain: _Chain, readers: Readers) -> Moved | None:
    """Return how a product's rows were moved, if attention alone reads its result."""
    steps: list[Step] = []
    var = chain.x
    while (step := _step(readers.values.get(var))) is not None:
        steps.insert(0, step)
        var = readers.values[var].args[0]
    for read, reader in readers.ends(chain.result):
        call = None if reader is None else readers.values[reader]
        if not _is_attention(call) or any(a.same_as(read) for a in call.args[_OPERANDS:]):
            return None
    moved = Moved(var).followed(steps)
    return moved if _permutes(moved) else None


def _movement_behind(chain: _Chain, readers: Readers) -> tuple[relax.Var, Moved] | None:
    """Return where the rows of a product of attention's result end, and how they were moved."""
    var = chain.x
    while _is_read_once(var, readers) and is_rearrangement(readers.values.get(var)):
        var = readers.values[var].args[0]
    is_turned = any(name_of(call) == "relax.call_tir" for call in chain.calls)
    if is_turned or not _is_read_once(var, readers) or not _is_attention(readers.values.get(var)):
        return None
    steps: list[Step] = []
    end = chain.result
    while _is_read_once(end, readers):
        (after,) = readers.of(end)
        step = _step(readers.values[after])
        if step is None:
            break
        steps.append(step)
        end = after
    moved = Moved(chain.result).followed(steps)
    return (end, moved) if _permutes(moved) else None


def _is_attention(call: relax.Expr | None) -> bool:
    return name_of(call) in OPERATORS and is_supported(call)


def _is_read_once(var: relax.Var, readers: Readers) -> bool:
    return len(readers.of(var)) == 1 and var not in readers.results


def _step(call: relax.Expr | None) -> Step | None:
    """Return how an operator moves whole rows, None if it does anything else."""
    if not is_rearrangement(call) or not has_shape(call.args[0]):
        return None
    if name_of(call) == "relax.permute_dims":
        step: Step = Permute(tuple(permutation(call)))
    else:
        step = Reshape(shape_of(call.args[0]), tuple(call.ty.shape))
    return step if keeps_rows([step]) else None


def _permutes(moved: Moved) -> bool:
    return any(isinstance(step, Permute) for step in moved.steps)
