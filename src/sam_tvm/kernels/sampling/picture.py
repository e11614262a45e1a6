"""A picture whose channels lie side by side, and what adds its bilinear samples up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.operand import Operand
from sam_tvm.kernels.target_features import VectorUnit
from sam_tvm.kernels.vectors import Code, Lanes, index

Corner = tuple[Expr, Expr]  # a row or column next to a position, and its weight
_SUMS = {32: 16, 16: 8}  # registers of sums, by registers


@dataclass(frozen=True)
class Picture:
    """Pictures, float32.

    Attributes:
        operand: where the elements are, by picture, row, column and channel.
        height, width: rows and columns.
        channels: how many lie side by side.

    """

    operand: Operand
    height: Expr
    width: Expr
    channels: int

    def map(self, edit: Callable[[Expr], Expr]) -> Picture:
        """Apply `edit` to every expression."""
        operand, height, width = self.operand.map(edit), edit(self.height), edit(self.width)
        return replace(self, operand=operand, height=height, width=width)


@dataclass(frozen=True)
class Channels:
    """Some neighbouring channels, whose sums registers hold.

    Attributes:
        lanes: channels of a vector.
        first: the first one.
        vectors: how many vectors.

    """

    lanes: Lanes
    first: int
    vectors: int


def channel_groups(count: int, unit: VectorUnit) -> Iterator[Channels]:
    """Return all channels: vectors of them, and what is left one by one."""
    most = _SUMS[32 if unit.registers >= 32 else 16]
    whole, rest = divmod(count, unit.lanes)
    for lanes, begin, vectors in ((unit.lanes, 0, whole), (1, count - rest, rest)):
        for done in range(0, vectors, most):
            yield Channels(Lanes(lanes), begin + done * lanes, min(most, vectors - done))


@dataclass(frozen=True)
class Sampler:
    """Adds bilinear samples of some channels up.

    Attributes:
        picture: that is sampled.
        buffer: its tensor, flat.
        channels: which of them.
        sums: a register for each vector.

    """

    picture: Picture
    buffer: Var
    channels: Channels
    sums: Sequence[Var]

    @classmethod
    def begin(cls, picture: Picture, buffer: Var, channels: Channels, code: Code) -> Sampler:
        """Declare the registers, and clear them."""
        sums = [code.register("sum") for _ in range(channels.vectors)]
        for register in sums:
            code.set(register, channels.lanes.number(0.0))
        return cls(picture, buffer, channels, sums)

    def add(
        self, code: Code, image: Expr, rows: Sequence[Corner], columns: Sequence[Corner]
    ) -> None:
        """Add the sample between some rows and columns of a picture."""
        lanes = self.channels.lanes
        for row, above in rows:
            for column, beside in columns:
                place = self.picture.operand.at(image, row, column, self.channels.first)
                start = code.bind("start", place)
                weight = code.name("weight", lanes.splat(above * beside))
                for v, register in enumerate(self.sums):
                    value = lanes.load(self.buffer, start + v * lanes.count)
                    code.set(register, code.get(register) + weight * value)

    def store(self, code: Code, result: Var, at: Expr) -> None:
        """Store the sums where the first of all channels is at `at`."""
        lanes = self.channels.lanes
        start = code.bind("result_start", at + self.channels.first)
        for v, register in enumerate(self.sums):
            code.add(lanes.store(result, code.get(register), start + v * lanes.count))


def number(value: float) -> Expr:
    """Return a float32 constant."""
    return tirx.FloatImm("float32", value)


def as_number(size: Expr) -> Expr:
    """Return a size as float32."""
    return tirx.Cast("float32", size)


def as_index(value: Expr) -> Expr:
    """Return a whole float32 as a position."""
    return tirx.Cast("int64", value)


def bound(position: Expr, size: Expr) -> Expr:
    """Return the nearest position that is there."""
    return tirx.max(tirx.min(position, size - 1), index(0))
