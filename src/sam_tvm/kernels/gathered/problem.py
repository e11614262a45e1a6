"""What a gathered product's kernel is made for: its sizes, and the tile."""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.kernels.generated import register_tile
from sam_tvm.kernels.target_features import VectorUnit

_LONGEST_SUM = 128  # terms per pass: short sums that are added up err less than one long sum
_MOST_ROWS = 8  # rows of a register tile: each has a pointer in a general register
_BLOCK_ROWS = 384  # results that one task computes for all taps before the next block


@dataclass(frozen=True)
class Sizes:
    """Sizes of `out[n * G + g] = bias + start[n] + sum over j of x[row(n, g, j)] @ weight[., j]`.

    Attributes:
        table_columns: of the index table.
        groups: G, results for each row of the table.
        weights: G where each group has weights of its own, 1 where all share them.
        taps: products that are added up, at most.
        terms: channels of x.
        columns: channels of the result.
        has_start: whether a tensor is added that has a row for each row of the table.
    """

    table_columns: int
    groups: int
    weights: int
    taps: int
    terms: int
    columns: int
    has_start: bool

    @property
    def step(self) -> int:
        """Rows of x for each row of the table: as many as groups share their weights."""
        return self.groups // self.weights


@dataclass(frozen=True)
class Tile:
    """The register tile and the block around it.

    Attributes:
        lanes, vectors: width, in float32 per vector and in vectors.
        rows: rows of x that are multiplied at once.
        entries: rows of the table in a block.
        longest: terms of a sum's pass.
    """

    lanes: int
    vectors: int
    rows: int
    entries: int
    longest: int

    @property
    def width(self) -> int:
        """Columns of a panel of the weight."""
        return self.lanes * self.vectors


def choose_tile(sizes: Sizes, unit: VectorUnit) -> Tile:
    """Return the tile for a vector unit: the width that wastes least of the last panel."""
    vectors, rows = register_tile(sizes.columns, unit, _MOST_ROWS)
    passes = -(-sizes.terms // _LONGEST_SUM)
    return Tile(
        lanes=unit.lanes,
        vectors=vectors,
        rows=rows,
        entries=max(1, _BLOCK_ROWS // sizes.step),
        longest=-(-sizes.terms // passes),
    )
