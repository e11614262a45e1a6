"""Who reads what in a Relax function, also through operators that only move it about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from tvm import relax

from sam_tvm.kernels.graph.operators import is_rearrangement, operator_name

_CUTTING = ("relax.strided_slice", "relax.split", "relax.broadcast_to")


class Readers:
    """The variables of one function.

    Attributes:
        values: what each is bound to.
        results: those that the function returns.

    """

    def __init__(self, function: relax.Function) -> None:
        bindings = [b for block in function.body.blocks for b in block.bindings]
        self.values: Mapping[relax.Var, relax.Expr] = {
            b.var: b.value for b in bindings if isinstance(b, relax.VarBinding)
        }
        self.results = set(relax.analysis.free_vars(function.body.body))
        self._readers: defaultdict[relax.Var, list[relax.Var]] = defaultdict(list)
        for var, value in self.values.items():
            for read in relax.analysis.free_vars(value):
                self._readers[read].append(var)

    def of(self, var: relax.Var) -> list[relax.Var]:
        """Return the variables whose values read a variable."""
        return self._readers[var]

    def only(self, var: relax.Var) -> relax.Var | None:
        """Return the one variable whose value reads a variable, None if others do or none."""
        readers = self._readers[var]
        return readers[0] if len(readers) == 1 and var not in self.results else None

    def value_read_once(self, var: relax.Expr) -> relax.Expr | None:
        """Return what a variable is bound to, if exactly one variable's value reads it."""
        return self.values.get(var) if self.only(var) is not None else None

    def ends(self, var: relax.Var) -> Iterator[tuple[relax.Var, relax.Var | None]]:
        """Return what computes with a variable's elements.

        Returns:
            The variable that is read, which may be cut out of the given one, and that of the
            reader; None stands for the function's end.

        """
        if var in self.results:
            yield var, None
        for reader in self._readers[var]:
            value = self.values[reader]
            moved = isinstance(value, relax.Var | relax.TupleGetItem)
            if moved or is_rearrangement(value) or operator_name(value) in _CUTTING:
                yield from self.ends(reader)
            else:
                yield var, reader
