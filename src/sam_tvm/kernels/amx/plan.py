"""How a product is done in tiles: its operands' form, its blocks, and where a pass's sums go."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.ir import Expr

from sam_tvm.kernels.amx.blocking import Blocking, choose_blocking
from sam_tvm.kernels.amx.choice import takes_digits
from sam_tvm.kernels.amx.digit_operands import DigitPanels, DigitRows
from sam_tvm.kernels.amx.digits import TERMS as DIGIT_TERMS
from sam_tvm.kernels.amx.instructions import PANEL, TILE
from sam_tvm.kernels.amx.parts import WHOLE, Product, products_of
from sam_tvm.kernels.amx.rows import Rows, Terms
from sam_tvm.kernels.amx.waiting import WaitingDigits, WaitingSums
from sam_tvm.kernels.amx.weights import PassPanels, SplitPanels, StoredPanels
from sam_tvm.kernels.expressions import constant_value
from sam_tvm.kernels.products.contraction import Contraction
from sam_tvm.kernels.vectors import index


@dataclass(frozen=True)
class Plan:
    """What a task works with.

    Attributes:
        terms: the summed axes.
        y, x: the operands.
        blocking: sizes.
        products: which parts meet, of bfloat16.
        waiting: the sums that wait after a pass; None if a single pass stores them.
    """

    terms: Terms
    y: Rows | DigitRows
    x: StoredPanels | SplitPanels | PassPanels | DigitPanels
    blocking: Blocking
    products: tuple[tuple[Product, ...], ...]
    waiting: WaitingSums | WaitingDigits | None


def plan_product(contraction: Contraction, height: Expr, few: bool) -> Plan:
    """Choose how a contraction is done.

    Args:
        contraction: that is done.
        height: its rows of Y.
        few: whether there are so few that X is cut where it is used.
    """
    known = constant_value(height)
    panels = -(-constant_value(contraction.lane.extent) // PANEL)
    if takes_digits(contraction, few):
        terms = Terms.of(contraction, DIGIT_TERMS)
        y = DigitRows(contraction, terms)
        blocking = choose_blocking(known, terms, y, few)
        x = DigitPanels(contraction, terms, panels, blocking.steps)
        waiting = WaitingDigits(blocking.steps, y, x)
        return Plan(terms, y, x, blocking, (), waiting)
    terms = Terms.of(contraction)
    y = Rows(contraction, terms, 1 if contraction.pairs else WHOLE)
    blocking = choose_blocking(known, terms, y, few)
    x = _panels(contraction, terms, panels, few)
    products = products_of(y.parts, x.parts)
    waits = blocking.passes > 1 or terms.taps
    waiting = WaitingSums(blocking.steps, products) if waits else None
    return Plan(terms, y, x, blocking, products, waiting)


def _panels(
    contraction: Contraction, terms: Terms, panels: int, few: bool
) -> StoredPanels | SplitPanels | PassPanels:
    """Return X in bfloat16."""
    form = contraction.panels
    parts = WHOLE if form is None or not (form.pairs or form.int8) else 1
    if few:
        return PassPanels(contraction, terms, parts)
    if form.pairs and terms.count % (2 * TILE) == 0:
        return StoredPanels(contraction, terms)
    return SplitPanels(contraction, terms, index(panels), parts)
