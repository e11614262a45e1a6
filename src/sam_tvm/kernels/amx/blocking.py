"""Sizes of a product's blocks, from what a core's caches hold."""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.kernels.amx.digit_operands import DigitRows
from sam_tvm.kernels.amx.instructions import BLOCK
from sam_tvm.kernels.amx.rows import Rows, Terms

_ROW_WORDS = 4 << 16  # of a block of Y: half of a cache of 2 MiB
MOST_ROWS = 512
_ENOUGH_ROWS = 384  # that share a pass over a panel
_FEW_STEPS = 2  # where X is cut for each pass, and its source passes through that cache too
_WAITING_PANELS = 4
_MOST_PANELS = 160  # whose sums wait for the next chunk: 10 MiB


@dataclass(frozen=True)
class Blocking:
    """Sizes.

    Attributes:
        rows: of Y in a task, a multiple of a strip's.
        steps: tiles of terms in a pass, which starts from zero and is added to the sums.
        passes: of a point of the outer summed axes.
        chunk: passes that a block of Y has at a time.
        panels: whose sums wait together: until all terms are added, or to be stored together.
        most_panels: of a task.
    """

    rows: int
    steps: int
    passes: int
    chunk: int
    panels: int | None
    most_panels: int | None

    @property
    def chunks(self) -> int:
        """Parts of the sum, each of which is done for all panels of a task before the next."""
        return -(-self.passes // self.chunk)


def choose_blocking(
    height: int | None, terms: Terms, rows: Rows | DigitRows, few: bool
) -> Blocking:
    """Choose the sizes.

    Args:
        height: rows of Y, None if not known.
        terms: the summed axes.
        rows: the operand.
        few: whether there are so few rows that X is cut where it is used.
    """
    most_steps = _FEW_STEPS if few else rows.most_steps
    most = MOST_ROWS if height is None else min(MOST_ROWS, -(-height // BLOCK) * BLOCK)
    passes = -(-terms.steps // most_steps)
    steps = -(-terms.steps // passes)
    passes = -(-terms.steps // steps)

    def fitting(chunk: int) -> int:
        count = most
        while count > BLOCK and rows.words(count, steps, chunk) > _ROW_WORDS:
            count -= BLOCK
        return count

    chunk = passes
    if rows.takes_chunks:
        while chunk > 1 and fitting(chunk) < min(_ENOUGH_ROWS, most):
            chunk -= 1
        chunk = -(-passes // -(-passes // chunk))
    count = _even(height, fitting(chunk))
    waits = chunk < passes
    return Blocking(
        rows=count,
        steps=steps,
        passes=passes,
        chunk=chunk,
        panels=None if waits else _WAITING_PANELS,
        most_panels=_MOST_PANELS if waits else None,
    )


def _even(height: int | None, most: int) -> int:
    """Return the rows of an even number of equal blocks, for two threads or four to share."""
    if height is None or height <= most:
        return most
    blocks = -(-height // most)
    blocks += blocks % 2
    return -(-height // (blocks * BLOCK)) * BLOCK
