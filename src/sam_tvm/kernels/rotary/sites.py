"""Which products make queries and keys that rotary embeddings turn, and nothing else reads."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product as combinations

import tvm
from tvm import relax, sym

from sam_tvm.kernels.attention.chains import Chain, chains
from sam_tvm.kernels.attention.operands import OPERATORS
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.graph.operators import operator_name
from sam_tvm.kernels.graph.readers import Readers
from sam_tvm.kernels.graph.views import Bindings, View, has_shape, trace
from sam_tvm.kernels.rotary.pattern import Rotation, find_rotation

_QUERIES_AND_KEYS = (0, 1)


@dataclass(frozen=True)
class Site:
    """A product, perhaps with a bias, of which some heads are turned.

    Attributes:
        chain: makes a result (..., N) with rows that count positions fastest.
        depth: channels of a head, D.
        heads: the numbers of the heads that are turned, of N / D.
        positions: L.
        cosines, sines: (L, D / 2).
        unturned: for the pairs of each rotation, what they were before.

    """

    chain: Chain
    depth: int
    heads: frozenset[int]
    positions: int
    cosines: relax.Var
    sines: relax.Var
    unturned: dict[relax.Var, relax.Var]


@dataclass(frozen=True)
class _Turned:
    """A rotation of some heads of a product's result."""

    rotation: Rotation
    source: relax.Var
    unturned: relax.Var
    depth: int
    heads: frozenset[int]


class Sites:
    """Looks for sites in one function."""

    def __init__(
        self, function: relax.Function, parameters: set[relax.Var], module: tvm.IRModule, pair: int
    ) -> None:
        """Take a function apart.

        Args:
            function: of dataflow.
            parameters: its variables that depend on parameters alone.
            module: holds what it calls.
            pair: columns that both vectors of a pair of neighbours hold.

        """
        self._readers = Readers(function)
        self._values: Bindings = self._readers.values
        self._chains = {
            chain.result: chain
            for chain in chains(self._readers, parameters, module)
            if chain.has_known_rows
        }
        self._pair = pair
        self._analyzer = sym.Analyzer()

    def find(self) -> list[Site]:
        """Return all sites."""
        groups: defaultdict[relax.Var, list[_Turned]] = defaultdict(list)
        for var in self._values:
            rotation = find_rotation(var, self._values)
            turned = rotation and self._turned(rotation)
            if turned:
                groups[turned.source].append(turned)
        sites = (self._site(source, group) for source, group in groups.items())
        return [site for site in sites if site is not None]

    def _turned(self, rotation: Rotation) -> _Turned | None:
        """Return which heads of which product a rotation turns, None if it turns anything else."""
        real, imaginary = (
            _numbers(trace(var, self._values, self._analyzer)[-1])
            for var in (rotation.real, rotation.imaginary)
        )
        if real is None or imaginary is None or not real.base.same_as(imaginary.base):
            return None
        if real.base not in self._chains or real.loops != imaginary.loops:
            return None
        positions, half = (constant_value(extent) for extent in rotation.cosines.ty.shape)
        *outer, rows, pairs = real.loops
        depth, columns = 2 * half, real.columns
        if depth % self._pair or real.offset % depth or imaginary.offset != real.offset + 1:
            return None
        if pairs != ((half, 2),) or rows != ((positions, columns),):
            return None
        loops = [loop for axis in outer for loop in axis]
        heads = [loop for loop in loops if loop[1] < columns]
        if any(stride % (positions * columns) for _, stride in loops if stride >= columns):
            return None
        if any(stride % depth for _, stride in heads):
            return None
        unturned = self._pairs_before(rotation, real)
        if unturned is None or not self._is_private(rotation):
            return None
        numbers = _positions(real.offset // depth, [(n, s // depth) for n, s in heads])
        return _Turned(rotation, real.base, unturned, depth, numbers)

    def _pairs_before(self, rotation: Rotation, real: _Strides) -> relax.Var | None:
        """Return the variable that holds what is turned just as the result holds what was."""
        var = rotation.real
        while not var.same_as(real.base):
            for view in trace(var, self._values, self._analyzer):
                numbers = _numbers(view)
                if numbers is None or not numbers.base.same_as(real.base):
                    continue
                same = numbers.offset == real.offset
                if same and numbers.loops == (*real.loops, ((2, 1),)):
                    return var
            value = self._values.get(var)
            if not isinstance(value, relax.Call) or not isinstance(value.args[0], relax.Var):
                return None
            var = value.args[0]
        return None

    def _is_private(self, rotation: Rotation) -> bool:
        """Tell whether nothing but the rotation reads what is between."""
        own = rotation.inner | {rotation.result}
        return not rotation.inner & self._readers.results and all(
            reader in own for var in rotation.inner for reader in self._readers.of(var)
        )

    def _site(self, source: relax.Var, group: list[_Turned]) -> Site | None:
        first = group[0].rotation
        alike = all(
            turned.rotation.cosines.same_as(first.cosines)
            and turned.rotation.sines.same_as(first.sines)
            and turned.depth == group[0].depth
            for turned in group
        )
        heads = frozenset().union(*(turned.heads for turned in group))
        disjoint = len(heads) == sum(len(turned.heads) for turned in group)
        if not alike or not disjoint or not self._meet(group):
            return None
        if not self._others_are_apart(source, group, heads):
            return None
        return Site(
            chain=self._chains[source],
            depth=group[0].depth,
            heads=heads,
            positions=constant_value(first.cosines.ty.shape[0]),
            cosines=first.cosines,
            sines=first.sines,
            unturned={turned.rotation.result: turned.unturned for turned in group},
        )

    def _meet(self, group: list[_Turned]) -> bool:
        """Tell whether attention alone reads what is turned: queries with keys of the group.

        Products of both do not depend on the order of a head's channels.
        """
        places: set[tuple[relax.Var, int]] = set()
        for turned in group:
            result = turned.rotation.result
            for var, reader in self._readers.ends(result):
                call = self._values.get(reader) if reader is not None else None
                if operator_name(call) not in OPERATORS or not self._keeps_heads(var, turned):
                    return False
                own = [i for i, argument in enumerate(call.args) if argument.same_as(var)]
                if any(i not in _QUERIES_AND_KEYS for i in own):
                    return False
                places |= {(reader, i) for i in own}
        attentions = {reader for reader, _ in places}
        return all((reader, i) in places for reader in attentions for i in _QUERIES_AND_KEYS)

    def _keeps_heads(self, var: relax.Var, turned: _Turned) -> bool:
        """Tell whether a variable's last axis is a head's channels, in their order."""
        for view in trace(var, self._values, self._analyzer):
            numbers = _numbers(view)
            if numbers is not None and numbers.base.same_as(turned.rotation.result):
                return numbers.loops[-1] == ((turned.depth, 1),)
        return False

    def _others_are_apart(
        self, source: relax.Var, group: list[_Turned], heads: frozenset[int]
    ) -> bool:
        """Tell whether nothing else reads the channels that are turned."""
        inner = frozenset().union(*(turned.rotation.inner for turned in group))
        depth = group[0].depth
        for var, reader in self._readers.ends(source):
            if reader in inner:
                continue
            views = (_numbers(view) for view in trace(var, self._values, self._analyzer))
            own = [view for view in views if view is not None and view.base.same_as(source)]
            if not own:
                return False
            (view,) = own
            loops = [loop for axis in view.loops for loop in axis if loop[1] < view.columns]
            columns = _positions(view.offset, loops)
            if {column // depth for column in columns} & heads:
                return False
        return True


@dataclass(frozen=True)
class _Strides:
    """A view of known sizes."""

    base: relax.Var
    offset: int
    columns: int
    loops: tuple[tuple[tuple[int, int], ...], ...]


def _numbers(view: View) -> _Strides | None:
    """Return a view in numbers, None if some are not known."""
    if not isinstance(view.base, relax.Var) or not has_shape(view.base):
        return None
    offset, columns = constant_value(view.offset), constant_value(view.base.ty.shape[-1])
    loops = tuple(
        tuple((constant_value(n), constant_value(s)) for n, s in axis) for axis in view.axes
    )
    known = all(None not in loop for axis in loops for loop in axis)
    if offset is None or columns is None or not known:
        return None
    return _Strides(view.base, offset, columns, loops)


def _positions(first: int, loops: list[tuple[int, int]]) -> frozenset[int]:
    """Return the positions that loops (extent, stride) reach."""
    steps = [range(0, extent * stride, stride) if stride else (0,) for extent, stride in loops]
    return frozenset(first + sum(step) for step in combinations(*steps))
